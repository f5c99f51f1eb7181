-- When a request had ended, and how many of its and its answer's bytes are head. NULL: not known, as in all rows written before.
ALTER TABLE exchanges ADD COLUMN REQUEST_END_NS INTEGER;
ALTER TABLE exchanges ADD COLUMN REQUEST_HEAD_BYTES INTEGER;
ALTER TABLE exchanges ADD COLUMN RESPONSE_HEAD_BYTES INTEGER;
