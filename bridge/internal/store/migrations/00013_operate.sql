-- +goose Up

-- Accounts whose caching stands still because somebody said so: nobody attaches them until the row goes.
CREATE TABLE fairlead_pause (
  account varchar(90) NOT NULL,
  since   bigint      NOT NULL COMMENT 'ms',
  PRIMARY KEY (account)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What the agents of the sessions can do.
ALTER TABLE fairlead_session
  ADD COLUMN version    varchar(64)  NOT NULL DEFAULT '',
  ADD COLUMN capability int unsigned NOT NULL DEFAULT 0;

-- +goose Down
DROP TABLE fairlead_pause;
ALTER TABLE fairlead_session DROP COLUMN version, DROP COLUMN capability;
