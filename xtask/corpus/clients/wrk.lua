-- Sends each batch of messages once, over all connections together, then nothing more.
local batches = {}
-- wrk asks for one request ahead of all, to count the messages in it.
local nth = -1

function init(arguments)
   batches = dofile(arguments[1])
end

-- Behind the last batch: nothing, so that the connection stays silent.
function request()
   nth = nth + 1
   return batches[math.max(nth, 1)] or ""
end

function response(status, headers)
   local id
   for name, value in pairs(headers) do
      if name:lower() == "x-echo" then
         id = value
      end
   end
   io.write(string.format('{"id": "%s", "status": %d}\n', id or "", status))
   io.flush()
end

function done(summary)
   io.write(string.format('{"all_response_bytes": %d}\n', summary.bytes))
end
