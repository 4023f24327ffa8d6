-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers the globals class, on, on_app and raise. The core runs this file before any other; it sets `app` itself, when the scripts begin to serve.

local classes = import('class')
local exceptions = import('exceptions')

class = classes.class
on = classes.on
on_app = classes.on_app
raise = exceptions.raise

import('object')
import('api_names')
import('rule_findings')
import('site')

return true
