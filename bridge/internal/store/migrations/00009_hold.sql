-- +goose Up

-- While Clouddriver's cleanup of unknown agents' rows runs beside a bridge, no account is attached that never was before.
CREATE TABLE fairlead_hold (
  bridge     varchar(190) NOT NULL,
  held_until bigint       NOT NULL COMMENT 'ms',
  PRIMARY KEY (bridge)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_hold;
