package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Options is how the store reaches its database.
type Options struct {
	// DSN is the data source name as go-sql-driver/mysql writes it.
	DSN string
	// Password replaces the DSN's when it is not empty.
	Password string
	// MaxConnections bounds the pool; 0 means 16.
	MaxConnections int
	Log            *slog.Logger
}

// Store is the bridge's database. Its methods may be called from any goroutine.
type Store struct {
	db  *sql.DB
	log *slog.Logger
	// Where the database is, without user and password.
	host, address string
	idle          int // connections that are kept open
}

// lockWaitSeconds bounds how long a statement waits for a row lock. An attach waits for the transactions that hold the
// account's fence, and these are short.
const lockWaitSeconds = "5"

// Open checks the options and makes a store. It does not connect.
func Open(o Options) (*Store, error) {
	cfg, err := mysql.ParseDSN(o.DSN)
	if err != nil {
		return nil, fmt.Errorf("database DSN: %w", err)
	}
	if cfg.DBName == "" {
		return nil, errors.New("database DSN names no database: write USER@tcp(HOST:3306)/clouddriver")
	}
	if o.Password != "" {
		cfg.Passwd = o.Password
	}
	// A statement with many rows is one round trip, not a prepared statement of its own.
	cfg.InterpolateParams = true
	// What writeLiteral relies on, whatever the DSN says.
	if err := cfg.Apply(mysql.Charset("utf8mb4", "utf8mb4_general_ci")); err != nil {
		return nil, fmt.Errorf("database DSN: %w", err)
	}
	// A server that became a replica answers with errors for ever: take a new connection instead.
	cfg.RejectReadOnly = true
	cfg.ClientFoundRows = false
	cfg.ParseTime = false
	cfg.MultiStatements = false
	// Ask each server for its limit: a packet above it ends the connection, and then looks like a lost one.
	cfg.MaxAllowedPacket = 0
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = time.Minute
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = time.Minute
	}
	cfg.Logger = driverLog{o.Log}
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'"
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
	cfg.Params["innodb_lock_wait_timeout"] = lockWaitSeconds

	inner, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database DSN: %w", err)
	}
	db := sql.OpenDB(connector{inner})
	limit := o.MaxConnections
	if limit == 0 {
		limit = 16
	}
	db.SetMaxOpenConns(limit)
	db.SetMaxIdleConns(limit)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(30 * time.Minute)
	return &Store{db: db, log: o.Log, host: cfg.Addr, address: cfg.Addr + "/" + cfg.DBName, idle: limit}, nil
}

// Renew closes the connections that nobody uses. After one was lost or led to a server that takes no writes, the others are likely to be no
// better, and each would cost another attempt.
func (s *Store) Renew() {
	s.db.SetMaxIdleConns(-1)
	s.db.SetMaxIdleConns(s.idle)
}

// Close closes all connections.
func (s *Store) Close() error { return s.db.Close() }

// Address is where the database is, for people: host, port and name.
func (s *Store) Address() string { return s.address }

// Host is the database server's address, host and port, or a socket's path.
func (s *Store) Host() string { return s.host }

// Ping asks the database for an answer.
func (s *Store) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// connector sets what each connection needs and a DSN cannot say: MySQL and MariaDB name the variable of the isolation
// level differently, the statement is the same.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	execer, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("database driver cannot execute statements"), conn.Close())
	}
	if _, err := execer.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// driverLog takes what the driver would print on standard error. What matters comes as an error as well.
type driverLog struct{ log *slog.Logger }

func (l driverLog) Print(v ...any) {
	if l.log != nil {
		l.log.Debug("database driver", "message", fmt.Sprint(v...))
	}
}

// inTransaction runs f in a transaction and commits it. Whatever happens, the connection is free afterwards.
func (s *Store) inTransaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		// The connection may be gone; the first error is the one that says why.
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}
