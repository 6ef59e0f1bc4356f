-- +goose Up

-- Tokens for a number of agents, and tokens of people.
ALTER TABLE fairlead_token
  ADD COLUMN uses int         NOT NULL DEFAULT 0  COMMENT 'how many keys may enrol with it; 0: any number',
  ADD COLUMN role varchar(32) NOT NULL DEFAULT '' COMMENT 'of a person; empty: it is for agents';

-- Which keys have enrolled with a token that is for a number of agents. A key may come again.
CREATE TABLE fairlead_token_use (
  token      varchar(32)  NOT NULL,
  public_key binary(32)   NOT NULL COMMENT 'SHA-256 of the SubjectPublicKeyInfo',
  agent      varchar(255) NOT NULL,
  first_used bigint       NOT NULL COMMENT 'ms',
  PRIMARY KEY (token, public_key)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which keys the key file of a running bridge holds.
ALTER TABLE fairlead_bridge ADD COLUMN key_ids varchar(255) NOT NULL DEFAULT '' COMMENT 'separated by commas';

-- What people changed.
CREATE TABLE fairlead_audit (
  id      bigint unsigned NOT NULL AUTO_INCREMENT,
  at      bigint          NOT NULL COMMENT 'ms',
  actor   varchar(255)    NOT NULL,
  role    varchar(32)     NOT NULL,
  remote  varchar(64)     NOT NULL,
  bridge  varchar(190)    NOT NULL,
  action  varchar(64)     NOT NULL,
  target  varchar(512)    NOT NULL,
  detail  varchar(2048)   NOT NULL,
  outcome varchar(1024)   NOT NULL,
  PRIMARY KEY (id),
  KEY at_idx (at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_audit, fairlead_token_use;
ALTER TABLE fairlead_bridge DROP COLUMN key_ids;
ALTER TABLE fairlead_token DROP COLUMN uses, DROP COLUMN role;
