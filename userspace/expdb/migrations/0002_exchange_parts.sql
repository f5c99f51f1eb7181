-- When a request had ended, how many of its and its answer's bytes are head, how many interim answers came before the final one,
-- and the request's W3C trace context. NULL: not known, as in all rows written before; of the last also: the request has none.
ALTER TABLE exchanges ADD COLUMN REQUEST_END_NS INTEGER;
ALTER TABLE exchanges ADD COLUMN REQUEST_HEAD_BYTES INTEGER;
ALTER TABLE exchanges ADD COLUMN RESPONSE_HEAD_BYTES INTEGER;
ALTER TABLE exchanges ADD COLUMN INTERIM INTEGER;
ALTER TABLE exchanges ADD COLUMN TRACEPARENT TEXT;
