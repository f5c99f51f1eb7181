-- The experiment database. Names in upper case and their meaning are those of the original galileo-db, so that its readers
-- find what they look for: there, times are unix seconds. Columns that end in _NS are nanoseconds on CLOCK_BOOTTIME,
-- the clock of the probes; every analysis uses those. Unix time = boot time + CLOCK_OFFSET_NS of the experiment.

-- "GALI": tells our files from those of other programs.
PRAGMA application_id = 1195461705;

CREATE TABLE experiments (
    EXP_ID          TEXT NOT NULL PRIMARY KEY,
    NAME            TEXT NOT NULL,
    CREATOR         TEXT NOT NULL,
    START           DOUBLE,
    "END"           DOUBLE,
    CREATED         DOUBLE NOT NULL,
    STATUS          TEXT NOT NULL,          -- QUEUED, RUNNING, FINISHED, FAILED, ABORTED
    START_NS        INTEGER,
    END_NS          INTEGER,
    CREATED_NS      INTEGER NOT NULL,
    CLOCK_OFFSET_NS INTEGER NOT NULL
);

CREATE TABLE nodeinfo (
    EXP_ID     TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    NODE       TEXT NOT NULL,
    INFO_KEY   TEXT NOT NULL,
    INFO_VALUE TEXT NOT NULL,
    PRIMARY KEY (EXP_ID, NODE, INFO_KEY)
) WITHOUT ROWID;

CREATE TABLE metadata (
    EXP_ID TEXT NOT NULL PRIMARY KEY REFERENCES experiments ON DELETE CASCADE,
    DATA   JSON NOT NULL
);

CREATE TABLE telemetry (
    EXP_ID    TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    TIMESTAMP DOUBLE NOT NULL,
    METRIC    TEXT NOT NULL,
    SUBSYSTEM TEXT NOT NULL,
    NODE      TEXT NOT NULL,
    VALUE     DOUBLE,                       -- NULL: not a number
    AT_NS     INTEGER NOT NULL
);
CREATE INDEX telemetry_of ON telemetry (EXP_ID);

CREATE TABLE events (
    EXP_ID    TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    TIMESTAMP DOUBLE NOT NULL,
    NAME      TEXT NOT NULL,
    VALUE     TEXT,
    AT_NS     INTEGER NOT NULL
);
CREATE INDEX events_of ON events (EXP_ID);

-- What the clients saw. CREATED: the intended time; SENT: first byte written; DONE: last byte read.
CREATE TABLE traces (
    REQUEST_ID     TEXT NOT NULL,
    CLIENT         TEXT NOT NULL,
    SERVICE        TEXT NOT NULL,
    CREATED        DOUBLE NOT NULL,
    SENT           DOUBLE NOT NULL,         -- -1: never sent
    DONE           DOUBLE,
    STATUS         INTEGER NOT NULL,        -- -1: no whole answer
    RESPONSE       TEXT,                    -- always NULL: bodies are not kept
    HEADERS        TEXT,                    -- always NULL
    SERVER         TEXT,
    EXP_ID         TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    CREATED_NS     INTEGER NOT NULL,
    SENT_NS        INTEGER,
    FIRST_BYTE_NS  INTEGER,
    DONE_NS        INTEGER,
    PHASE          TEXT NOT NULL,           -- setup, warmup, measured, drain
    OUTCOME        TEXT NOT NULL,           -- completed, failed, unfinished, dropped
    FAILURE        TEXT,                    -- why, if failed: connect, timeout, reset, closed, protocol, http_4xx, http_5xx
    HTTP_STATUS    INTEGER,                 -- of the answer's head, also if the answer was not whole
    WORKLOAD       INTEGER NOT NULL,
    RESPONSE_BYTES INTEGER NOT NULL
);
CREATE INDEX traces_of ON traces (EXP_ID);

-- What the balancer saw, one row per attempt.
CREATE TABLE hops (
    EXP_ID        TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    REQUEST_ID    TEXT,
    SERVICE       TEXT NOT NULL,
    REPLICA       TEXT,
    ATTEMPT       INTEGER NOT NULL,
    START_NS      INTEGER NOT NULL,
    CONNECT_NS    INTEGER,
    FIRST_BYTE_NS INTEGER,
    END_NS        INTEGER NOT NULL,
    STATUS        INTEGER NOT NULL,
    CAUSE         TEXT
);
CREATE INDEX hops_of ON hops (EXP_ID);

-- What the kernel saw, one row per HTTP exchange and watched side.
CREATE TABLE exchanges (
    EXP_ID         TEXT NOT NULL REFERENCES experiments ON DELETE CASCADE,
    ROLE           TEXT NOT NULL,           -- server, client
    SERVICE        TEXT,
    REPLICA        TEXT,
    CGROUP         TEXT NOT NULL,
    PHASE          TEXT NOT NULL,
    METHOD         TEXT NOT NULL,
    PATH           TEXT NOT NULL,
    STATUS         INTEGER NOT NULL,
    LOCAL_ADDR     TEXT NOT NULL,
    LOCAL_PORT     INTEGER NOT NULL,
    REMOTE_ADDR    TEXT NOT NULL,
    REMOTE_PORT    INTEGER NOT NULL,
    START_NS       INTEGER NOT NULL,
    FIRST_BYTE_NS  INTEGER NOT NULL,
    END_NS         INTEGER NOT NULL,
    REQUEST_BYTES  INTEGER NOT NULL,
    RESPONSE_BYTES INTEGER NOT NULL,
    REQUEST_ID     TEXT,
    FLAGS          JSON                     -- array of words; NULL: none
);
CREATE INDEX exchanges_of ON exchanges (EXP_ID);
