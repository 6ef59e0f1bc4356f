-- +goose Up

-- Times of an operation, in milliseconds after its bridge received it (started); -1: not known. waited_ms is until it was sent to an agent.
ALTER TABLE fairlead_operation
  ADD COLUMN begun_ms bigint NOT NULL DEFAULT -1 COMMENT 'until the agent began',
  ADD COLUMN ended_ms bigint NOT NULL DEFAULT -1 COMMENT 'until the agent had done it',
  ADD KEY execution_idx (execution, started);

-- Which of an account's agents have its operations, where it is not the default.
CREATE TABLE fairlead_mode (
  pattern varchar(90) NOT NULL,
  mode    varchar(16) NOT NULL COMMENT 'failover or distributed',
  since   bigint      NOT NULL COMMENT 'ms',
  PRIMARY KEY (pattern)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_mode;
ALTER TABLE fairlead_operation DROP COLUMN begun_ms, DROP COLUMN ended_ms, DROP KEY execution_idx;
