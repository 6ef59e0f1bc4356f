package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"
)

// Numbers of server errors that mean something to us, with MySQL's names.
const (
	errDuplicateEntry   = 1062 // ER_DUP_ENTRY
	errNoSuchTable      = 1146 // ER_NO_SUCH_TABLE
	errPacketTooLarge   = 1153 // ER_NET_PACKET_TOO_LARGE
	errLockWaitTimeout  = 1205 // ER_LOCK_WAIT_TIMEOUT
	errDeadlock         = 1213 // ER_LOCK_DEADLOCK
	errTableExists      = 1050 // ER_TABLE_EXISTS_ERROR
	errDataTooLong      = 1406 // ER_DATA_TOO_LONG
	errTruncatedWrong   = 1366 // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
	errInvalidCharacter = 1300 // ER_INVALID_CHARACTER_STRING
	errRowTooBig        = 1118 // ER_TOO_BIG_ROWSIZE
	errCheckMySQL       = 3819 // ER_CHECK_CONSTRAINT_VIOLATED
	errCheckMariaDB     = 4025 // ER_CONSTRAINT_FAILED
	errBadField         = 1054 // ER_BAD_FIELD_ERROR
	errDuplicateColumn  = 1060 // ER_DUP_FIELDNAME
	errDuplicateKeyName = 1061 // ER_DUP_KEYNAME
	errSyntax           = 1064 // ER_PARSE_ERROR
	errInvalidDefault   = 1067 // ER_INVALID_DEFAULT
	errKeyTooLong       = 1071 // ER_TOO_LONG_KEY
	errCannotDrop       = 1091 // ER_CANT_DROP_FIELD_OR_KEY
	errUnknownCharset   = 1115 // ER_UNKNOWN_CHARACTER_SET
	errUnknownCollation = 1273 // ER_UNKNOWN_COLLATION
	errGroupConflict    = 3101 // ER_TRANSACTION_ROLLBACK_DURING_COMMIT: group replication

	// What a server says that goes, is full or does not serve yet. Read-only servers (1290, 1792, 1836) come as a lost connection: the
	// driver drops it, so that the next one may lead to another server.
	errTooManyConnections = 1040 // ER_CON_COUNT_ERROR
	errNodeNotReady       = 1047 // ER_UNKNOWN_COM_ERROR, Galera: the node has not joined
	errShutdown           = 1053 // ER_SERVER_SHUTDOWN
	errUserConnections    = 1203 // ER_TOO_MANY_USER_CONNECTIONS
	errInterrupted        = 1317 // ER_QUERY_INTERRUPTED: KILL QUERY
	errKilled             = 1927 // ER_CONNECTION_KILLED, MariaDB
)

// ErrNoTable says that a statement named a table that is not there.
var ErrNoTable = errors.New("no such table")

// ErrTaken says that a name is held by one that differs only in case.
var ErrTaken = errors.New("a name that differs only in case exists")

func number(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// IsNoTable tells whether a table was missing.
func IsNoTable(err error) bool {
	return errors.Is(err, ErrNoTable) || number(err) == errNoSuchTable
}

// IsConflict tells whether a transaction lost against another one: it may run again at once.
func IsConflict(err error) bool {
	n := number(err)
	return n == errDeadlock || n == errLockWaitTimeout || n == errGroupConflict
}

// IsData tells whether the database refused what a row holds. Another try ends in the same way. Anything that is not
// certainly about the data does not count: a full disk must not make rows look bad.
func IsData(err error) bool {
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return true
	}
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case errDataTooLong, errTruncatedWrong, errInvalidCharacter, errRowTooBig, errPacketTooLarge, errCheckMySQL, errCheckMariaDB:
		return true
	}
	// SQLSTATE class 22 is "data exception".
	return e.SQLState[0] == '2' && e.SQLState[1] == '2'
}

// isSchema tells whether a migration met tables that are not as the one before it left them, or is wrong itself. Missing rights and a missing
// database do not count: somebody may be about to bring them.
func isSchema(err error) bool {
	switch number(err) {
	case errTableExists, errBadField, errDuplicateColumn, errDuplicateKeyName, errSyntax, errInvalidDefault, errKeyTooLong, errCannotDrop, errUnknownCharset,
		errRowTooBig, errUnknownCollation:
		return true
	}
	return false
}

// IsUnavailable tells whether the database could not be spoken to, or is about to go, as opposed to having refused a statement.
func IsUnavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	switch number(err) {
	case errTooManyConnections, errNodeNotReady, errShutdown, errUserConnections, errInterrupted, errKilled:
		return true
	}
	var netErr net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded)
}
