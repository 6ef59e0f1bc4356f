-- +goose Up

-- Accounts that are given to agents at run time. The kubeconfig is sealed with the key file.
CREATE TABLE fairlead_dynamic (
  name       varchar(90)   NOT NULL COMMENT 'exact',
  folded     varchar(90)   NOT NULL COMMENT 'lower case: names that differ only in case are refused',
  state      varchar(16)   NOT NULL,
  zone       varchar(255)  NOT NULL COMMENT 'the agents that may have it; empty: any',
  place      varchar(255)  NOT NULL COMMENT 'the agents that have it, or had it last',
  agent      varchar(255)  NOT NULL COMMENT 'that declared it last',
  source     varchar(16)   NOT NULL COMMENT 'api, armory, scan, credentials or migration',
  labels     text          NOT NULL COMMENT 'JSON object of texts',
  definition mediumtext    NOT NULL COMMENT 'JSON object of the keys of an agent''s account, without credentials',
  sealed     mediumblob    NOT NULL COMMENT 'the kubeconfig',
  revision   bigint        NOT NULL COMMENT 'rises with each change of definition or kubeconfig',
  version    bigint        NOT NULL COMMENT 'rises with each change of the row',
  attempt    int           NOT NULL COMMENT 'how often it was given to agents',
  failures   int           NOT NULL COMMENT 'in a row',
  tried      text          NOT NULL COMMENT 'JSON list of the places that failed since the last success or pause',
  reason     varchar(2048) NOT NULL COMMENT 'why it is not as it should be, for people',
  due        bigint        NOT NULL COMMENT 'ms; when it is looked at next, 0: when something happens',
  created    bigint        NOT NULL COMMENT 'ms',
  changed    bigint        NOT NULL COMMENT 'ms; of the state',
  PRIMARY KEY (name),
  UNIQUE KEY folded_idx (folded),
  KEY version_idx (name, version)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The agents that are connected, whether they serve accounts or not. Rows of a bridge that is gone do not count.
CREATE TABLE fairlead_agent (
  session    varchar(64)  NOT NULL,
  bridge     varchar(190) NOT NULL,
  agent      varchar(255) NOT NULL,
  instance   varchar(255) NOT NULL,
  zone       varchar(255) NOT NULL,
  place      varchar(255) NOT NULL,
  version    varchar(64)  NOT NULL,
  dynamic    boolean      NOT NULL COMMENT 'it takes dynamic accounts',
  patterns   text         NOT NULL COMMENT 'JSON list: the accounts that its identity allows',
  since      bigint       NOT NULL COMMENT 'ms',
  closing    boolean      NOT NULL COMMENT 'a person wants it to connect anew',
  PRIMARY KEY (session),
  KEY bridge_idx (bridge)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE fairlead_agent, fairlead_dynamic;
