-- +goose Up

-- Accounts that were handed back to Clouddriver's own polling: nobody attaches them until the row goes.
CREATE TABLE fairlead_release (
  account varchar(90) NOT NULL,
  since   bigint      NOT NULL COMMENT 'ms',
  PRIMARY KEY (account)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_release;
