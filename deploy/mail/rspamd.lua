-- What the platform adds to rspamd: signing by a file a name, and caps on what a mailbox sends.
--
-- NAMES/<name> is written by the engine, whole or not at all: its first line tells since when the
-- name has mail (seconds since 1970), each further line is `selector key-file`. It is read for each
-- message, so that a new name or key is used at once, without a reload, whatever the number of names.
local NAMES = "@MAIL@/dkim/names/"
local KEYS = "@MAIL@/dkim/"

local rspamd_logger = require "rspamd_logger"

local function sender_name(task)
  local user = task:get_user()
  local from = (task:get_from("mime") or {})
  -- Exactly one author. Postfix binds the envelope to the login; the header is bound here.
  if not user or #from ~= 1 or not from[1].domain then return nil end
  local name = from[1].domain:lower()
  local login = user:lower():match("@(.+)$")
  if name ~= login or not name:match("^[a-z0-9.-]+$") then return nil end
  return name
end

local function read_name(name)
  local file = io.open(NAMES .. name, "r")
  if not file then return nil end
  local since = tonumber(file:read("*l") or "") or os.time()
  local keys = {}
  for line in file:lines() do
    local selector, key = line:match("^([a-z0-9]+) ([a-z0-9.-]+)$")
    if selector then table.insert(keys, { domain = name, selector = selector, key = KEYS .. key }) end
  end
  file:close()
  return since, keys
end

function hiendien_sign(task)
  local name = sender_name(task)
  if not name then return nil end
  local _, keys = read_name(name)
  if not keys or #keys == 0 then
    rspamd_logger.warnx(task, "no key to sign for %s", name)
    return nil
  end
  return keys
end

-- Recipients a mailbox may write to: by the age of its name in days, in an hour and in a day.
local CAPS = {
  { days = 7, hour = 20, day = 60 },
  { days = 30, hour = 60, day = 250 },
  { days = math.huge, hour = 200, day = 1000 },
}
-- The mailbox that the platform's own probe writes to does not count: a probe must not use up what an owner may send.
local PROBE = "outside@outside.test"
-- One worker counts, in memory: a restart forgives. Tables are dropped whole when their span is over.
local spans = { hour = { secs = 3600, count = {} }, day = { secs = 86400, count = {} } }

local function caps(since, now)
  local days = (now - since) / 86400
  for _, cap in ipairs(CAPS) do
    if days < cap.days then return cap end
  end
end

rspamd_config:register_symbol({
  name = "HIENDIEN_CAPS",
  type = "prefilter",
  callback = function(task)
    local user = task:get_user()
    if not user then return end
    user = user:lower()
    local now = os.time()
    local since = read_name(user:match("@([a-z0-9.-]+)$") or "-") or now
    local cap, wanted = caps(since, now), 0
    for _, recipient in ipairs(task:get_recipients("smtp") or {}) do
      if recipient.addr:lower() ~= PROBE then wanted = wanted + 1 end
    end
    if wanted == 0 then return end
    for kind, span in pairs(spans) do
      local number = math.floor(now / span.secs)
      if span.number ~= number then span.number, span.count = number, {} end
      if (span.count[user] or 0) + wanted > cap[kind] then
        rspamd_logger.warnx(task, "%s reached its cap of %s recipients in one %s", user, cap[kind], kind)
        task:set_pre_result("soft reject",
          "Hop thu da gui qua nhieu, hay thu lai sau; too many recipients in one " .. kind .. ", try again later")
        return
      end
    end
    for _, span in pairs(spans) do span.count[user] = (span.count[user] or 0) + wanted end
  end,
})

rspamd_config:register_symbol({
  name = "HIENDIEN_AUTHOR",
  type = "prefilter",
  callback = function(task)
    -- What a mailbox sends names the mailbox's own name as its author, or is not signed and not sent.
    if task:get_user() and not sender_name(task) then
      task:set_pre_result("reject", "The From header must be one address at the name you are signed in with")
    end
  end,
})
