-- SPDX-License-Identifier: GPL-2.0-or-later
-- A panel starts qubes of the office, and during office hours only.

grant { src = 'panel', method = 'admin.vm.Start', dest = 'tag:office', hours = '08:00-18:00', days = 'mon-fri', reason = 'office hours are over' }
