-- +goose Up

-- Where other bridges reach this one; empty: not at all.
ALTER TABLE fairlead_bridge ADD COLUMN address varchar(255) NOT NULL DEFAULT '' COMMENT 'host:port for other bridges';

-- +goose Down
ALTER TABLE fairlead_bridge DROP COLUMN address;
