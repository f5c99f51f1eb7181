-- Sends each batch of messages once, over all connections together, then nothing more; stops at the last answer.
local batches, total, given, answered = {}, 0, 0, 0
-- wrk asks for one request ahead of all, to count the messages in it.
local nth = -1

function init(arguments)
   batches, total = dofile(arguments[1]), tonumber(arguments[2])
end

-- Asked before each sending: holds a connection back for ever once all batches are given out.
function delay()
   if given >= #batches then
      return 3600000
   end
   given = given + 1
   return 0
end

function request()
   nth = nth + 1
   return batches[math.max(nth, 1)]
end

function response(status, headers)
   answered = answered + 1
   local id
   for name, value in pairs(headers) do
      if name:lower() == "x-echo" then
         id = value
      end
   end
   io.write(string.format('{"id": "%s", "status": %d}\n', id or "", status))
   if answered == total then
      io.flush()
      wrk.thread:stop()
   end
end

function done(summary)
   io.write(string.format('{"all_response_bytes": %d}\n', summary.bytes))
end
