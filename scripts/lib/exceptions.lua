-- SPDX-License-Identifier: GPL-2.0-or-later
-- The exceptions of the Admin API: their names, their parents, and how scripts raise and recognise them. Registers nothing.
--
-- A client tells errors apart by class name, so a name that is not listed here is never sent. An exception is a table with the fields `class`
-- and `message`; anything else that a script raises is an internal error, of which a caller learns nothing.

local parents = {
  QubesException = false,
  ProtocolError = false,
  PermissionDenied = false,

  QubesValueError = 'QubesException',
  QubesPropertyValueError = 'QubesValueError',
  QubesNoSuchPropertyError = 'QubesException',
  QubesNotImplementedError = 'QubesException',

  QubesVMNotFoundError = 'QubesException',
  QubesVMInvalidUUIDError = 'QubesException',
  QubesVMAlreadyExistsError = 'QubesException',
  QubesVMError = 'QubesException',
  QubesVMInUseError = 'QubesVMError',
  QubesVMNotStartedError = 'QubesVMError',
  QubesVMNotRunningError = 'QubesVMNotStartedError',
  QubesVMNotPausedError = 'QubesVMNotStartedError',
  QubesVMCancelledPauseError = 'QubesVMError',
  QubesVMNotSuspendedError = 'QubesVMError',
  QubesVMNotHaltedError = 'QubesVMError',
  QubesVMShutdownTimeoutError = 'QubesVMError',
  QubesNoTemplateError = 'QubesVMError',
  QubesMemoryError = 'QubesVMError',

  QubesFeatureNotFoundError = 'QubesException',
  QubesTagNotFoundError = 'QubesException',
  QubesInvalidTagError = 'ProtocolError',
  QubesLabelNotFoundError = 'QubesException',
  QubesLabelInUseError = 'QubesException',
  QubesInvalidLabelError = 'ProtocolError',
  QubesInvalidLabelValueError = 'ProtocolError',

  QubesPoolInUseError = 'QubesException',
  QubesPoolNotFoundError = 'QubesException',
  QubesVolumeNotFoundError = 'QubesException',
  QubesVolumeRevisionNotFoundError = 'QubesException',
  QubesVolumeCopyTokenNotFoundError = 'ProtocolError',
  QubesVolumeCopyInUseError = 'QubesException',
  StoragePoolException = 'QubesException',

  DeviceNotAssigned = 'QubesException',
  DeviceNotFound = 'QubesException',
  DeviceAlreadyAttached = 'QubesException',
  DeviceAlreadyAssigned = 'QubesException',
  QubesUnrecognizedDeviceAssignmentMode = 'ProtocolError',
  UnrecognizedDevice = 'QubesException',
  UnexpectedDeviceProperty = 'QubesException',

  QubesBackupProfileNotFoundError = 'QubesException',
  BackupCancelledError = 'QubesException',
  BackupAlreadyRunningError = 'QubesException',

  LibvirtError = 'QubesException', -- what core.virt raises
}

local Exception = { __name = 'exception' }

function Exception:__tostring()
  return self.class .. ': ' .. self.message
end

local exceptions = { parents = parents }

-- Raises an exception of the Admin API.
function exceptions.raise(class, message)
  if parents[class] == nil then
    error('unknown exception class ' .. tostring(class), 2)
  end
  error(setmetatable({ class = class, message = tostring(message or '') }, Exception), 0)
end

-- Whether `err`, as pcall gave it, is of the class or of one that descends from it.
function exceptions.is(err, class)
  local kind = type(err)
  local name = (kind == 'table' or kind == 'userdata') and err.class
  while name do
    if name == class then return true end
    name = parents[name]
  end
  return false
end

-- The text of any error, for logs and for the `reason` of an event.
function exceptions.message(err)
  local kind = type(err)
  if (kind == 'table' or kind == 'userdata') and err.message then return err.message end
  return tostring(err)
end

return exceptions
