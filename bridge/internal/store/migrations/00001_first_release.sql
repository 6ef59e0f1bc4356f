-- +goose Up

-- One row for each account that an agent ever declared and nobody removed.
CREATE TABLE fairlead_account (
  name        varchar(90)  NOT NULL COMMENT 'exact',
  folded      varchar(90)  NOT NULL COMMENT 'lower case: names that differ only in case are refused',
  declaration mediumtext   NOT NULL COMMENT 'fairlead.link.v1.Account as JSON',
  facts       mediumtext   NOT NULL COMMENT 'fairlead.link.v1.Facts as JSON',
  agent       varchar(255) NOT NULL COMMENT 'the agent that declared it last',
  last_seen   bigint       NOT NULL COMMENT 'ms; end of the last session, 0: never',
  removing    boolean      NOT NULL COMMENT 'taken out, its rows are being deleted',
  revision    bigint       NOT NULL COMMENT 'rises with each change',
  PRIMARY KEY (name),
  UNIQUE KEY folded_idx (folded),
  KEY name_revision_idx (name, removing, revision)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Who may write an account's rows. Kept when the account goes, so that an epoch is never given twice.
CREATE TABLE fairlead_fence (
  account varchar(90)     NOT NULL,
  epoch   bigint unsigned NOT NULL,
  holder  varchar(255)    NOT NULL COMMENT 'instance of the agent process',
  PRIMARY KEY (account)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Secrets that all bridges share, sealed with the key file.
CREATE TABLE fairlead_secret (
  name    varchar(64)    NOT NULL,
  sealed  varbinary(60000) NOT NULL,
  created bigint         NOT NULL COMMENT 'ms',
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Enrolment tokens of agents.
CREATE TABLE fairlead_token (
  id          varchar(32)  NOT NULL,
  hash        binary(32)   NOT NULL COMMENT 'SHA-256 of the token',
  patterns    text         NOT NULL COMMENT 'JSON list of account name patterns',
  description varchar(255) NOT NULL,
  created     bigint       NOT NULL COMMENT 'ms',
  expires     bigint       NOT NULL COMMENT 'ms; 0: never',
  last_used   bigint       NOT NULL COMMENT 'ms; 0: never',
  revoked     bigint       NOT NULL COMMENT 'ms; 0: not revoked',
  PRIMARY KEY (id),
  UNIQUE KEY hash_idx (hash)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The running bridges. Each touches its own row and no other.
CREATE TABLE fairlead_bridge (
  name      varchar(190) NOT NULL,
  version   varchar(64)  NOT NULL,
  started   bigint       NOT NULL COMMENT 'ms',
  heartbeat bigint       NOT NULL COMMENT 'ms',
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which session of which bridge serves an account. An account has one row for each replica of its agent.
CREATE TABLE fairlead_session (
  account  varchar(90)  NOT NULL,
  session  varchar(64)  NOT NULL,
  bridge   varchar(190) NOT NULL,
  agent    varchar(255) NOT NULL,
  instance varchar(255) NOT NULL,
  since    bigint       NOT NULL COMMENT 'ms',
  PRIMARY KEY (account, session),
  KEY bridge_idx (bridge)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What was done to the clusters: no bodies, no secrets.
CREATE TABLE fairlead_operation (
  id          varchar(64)   NOT NULL,
  account     varchar(90)   NOT NULL,
  verb        varchar(32)   NOT NULL,
  target      varchar(512)  NOT NULL COMMENT 'kind, namespace and name',
  mutation    boolean       NOT NULL,
  user        varchar(255)  NOT NULL,
  execution   varchar(64)   NOT NULL COMMENT 'of Orca',
  bridge      varchar(190)  NOT NULL,
  agent       varchar(255)  NOT NULL,
  started     bigint        NOT NULL COMMENT 'ms',
  waited_ms   bigint        NOT NULL COMMENT 'until an agent had it',
  duration_ms bigint        NOT NULL COMMENT 'all of it, as the caller sees it',
  server_ms   bigint        NOT NULL COMMENT 'inside the API server',
  outcome     varchar(32)   NOT NULL,
  reason      varchar(1024) NOT NULL,
  PRIMARY KEY (id),
  KEY started_idx (started),
  KEY account_started_idx (account, started)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_operation, fairlead_session, fairlead_bridge, fairlead_token, fairlead_secret, fairlead_fence, fairlead_account;
