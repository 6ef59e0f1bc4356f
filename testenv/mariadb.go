package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/testenv/internal/build"
	"github.com/fairlead/fairlead/testenv/internal/process"
	mysql "github.com/go-sql-driver/mysql"
)

// mariadb is one MariaDB server: what is known of it before it is started.
type mariadb struct {
	dir      string // holds data, or a link to it
	port     int
	password string // of the three users below
	// templates makes the tables that Clouddriver's migrations would have made, for environments without one.
	templates bool
}

// The users of the server. All have the same random password: the server listens on the loopback address and is thrown
// away.
const (
	databaseName    = "clouddriver"
	clouddriverUser = "clouddriver" // Clouddriver: everything in its own database
	bridgeUser      = "fairlead"    // the bridge: the same database, as an install grants it
	allUser         = "testenv"     // tests and people: everything
)

func newMariaDB(dir string, templates bool) (*mariadb, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	return &mariadb{dir: dir, port: port, password: hex.EncodeToString(random), templates: templates}, nil
}

// dsn is how that user reaches the server, as go-sql-driver writes it.
func (m *mariadb) dsn(name string) string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = name, m.password, "tcp", loopback(m.port), databaseName
	return cfg.FormatDSN()
}

// install makes the data directory.
func (m *mariadb) install(ctx context.Context, cache *build.Cache) (process.Spec, error) {
	server, err := cache.Tool(ctx, build.MariaDB())
	if err != nil {
		return process.Spec{}, err
	}
	installer, err := cache.Tool(ctx, build.MariaDBInstall())
	if err != nil {
		return process.Spec{}, err
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return process.Spec{}, err
	}
	spec := process.Spec{Name: "mysql", Log: filepath.Join(m.dir, "mysql.log")}
	data := filepath.Join(m.dir, "data")
	if os.Getuid() == 0 {
		if data, err = giveToServerUser(data, &spec); err != nil {
			return spec, err
		}
	} else if err := os.MkdirAll(data, 0o700); err != nil {
		return spec, err
	}
	install := []string{
		// A server that starts removes temporary tables of others from a directory that they share.
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + data, "--skip-test-db", "--skip-log-bin",
		"--auth-root-authentication-method=normal", "--innodb-log-file-size=32M",
	}
	if spec.User != nil {
		account, err := user.LookupId(strconv.Itoa(int(*spec.User)))
		if err != nil {
			return spec, err
		}
		install = append(install, "--user="+account.Username)
	}
	if _, err := build.Run(ctx, data, nil, installer, install...); err != nil {
		return spec, err
	}
	first := filepath.Join(data, "first.sql")
	if err := os.WriteFile(first, []byte(strings.Join(m.firstStatements(), ";\n")+";\n"), 0o600); err != nil {
		return spec, err
	}
	if spec.User != nil {
		if err := os.Chown(first, int(*spec.User), int(*spec.Group)); err != nil {
			return spec, err
		}
	}
	spec.Dir = data
	spec.Args = []string{
		server, "--no-defaults", "--datadir=" + data, "--tmpdir=" + data, "--init-file=" + first,
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(m.port), "--skip-name-resolve",
		// Relative to the data directory: an absolute path of a socket may have 107 bytes at most.
		"--socket=server.sock", "--pid-file=server.pid",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci",
		"--userstat=1", // rows changed per table: information_schema.TABLE_STATISTICS
		"--skip-log-bin", "--performance-schema=off", "--max-connections=600",
		"--innodb-buffer-pool-size=256M", "--innodb-log-file-size=32M",
		// A commit survives the server's death, not the machine's.
		"--innodb-flush-log-at-trx-commit=2",
	}
	return spec, nil
}

// giveToServerUser makes the data directory of a server that root starts: MariaDB does not run as root. Where the wanted
// place lies below a directory that only root may enter, the data goes to the directory for temporary files, and a link
// takes its place.
func giveToServerUser(data string, spec *process.Spec) (string, error) {
	account, err := user.Lookup("mysql")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return "", fmt.Errorf("MariaDB does not run as root and there is neither a user mysql nor nobody: %w", err)
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return "", err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return "", err
	}
	u, g := uint32(uid), uint32(gid)
	spec.User, spec.Group = &u, &g

	place := data
	if !everybodyMayEnter(filepath.Dir(data)) {
		if place, err = os.MkdirTemp("", "fairlead-mysql-"); err != nil {
			return "", err
		}
		if !everybodyMayEnter(filepath.Dir(place)) {
			return "", fmt.Errorf("the user %s can enter neither %s nor %s: choose another directory", account.Username, data, place)
		}
		if err := os.Symlink(place, data); err != nil {
			return "", err
		}
	} else if err := os.MkdirAll(place, 0o700); err != nil {
		return "", err
	}
	return place, os.Chown(place, int(u), int(g))
}

// everybodyMayEnter tells whether all directories down to dir have the search bit for others.
func everybodyMayEnter(dir string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// removeData removes what install put outside the server's directory.
func (m *mariadb) removeData() error {
	link := filepath.Join(m.dir, "data")
	place, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) {
		return nil // none, or an ordinary directory
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(place); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// firstStatements run before the server accepts connections, at each start; each stands on one line.
func (m *mariadb) firstStatements() []string {
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + databaseName + " CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"}
	for name, rights := range map[string]string{
		clouddriverUser: "ALL ON " + databaseName + ".*",
		bridgeUser:      "ALL ON " + databaseName + ".*",
		allUser:         "ALL ON *.*",
	} {
		statements = append(statements,
			fmt.Sprintf("CREATE USER IF NOT EXISTS %s@'127.0.0.1' IDENTIFIED BY '%s'", name, m.password),
			fmt.Sprintf("GRANT %s TO %s@'127.0.0.1'%s", rights, name, map[bool]string{true: " WITH GRANT OPTION"}[name == allUser]))
	}
	if m.templates {
		statements = append(statements, "USE "+databaseName)
		for _, table := range catsTemplates {
			statements = append(statements, strings.Join(strings.Fields(table), " "))
		}
	}
	return statements
}

// CacheTemplates are the statements that make the templates of Clouddriver's cache tables, for a database that testenv did not start.
func CacheTemplates() []string { return slices.Clone(catsTemplates) }

// catsTemplates are the tables of which Clouddriver and the bridge copy the cache tables of each kind, as Clouddriver's
// migration 20181120-cats and its successors leave them.
var catsTemplates = []string{
	`CREATE TABLE IF NOT EXISTS cats_v1_resource_template (
		id varchar(352) NOT NULL, agent varchar(127) NOT NULL, application varchar(255), body_hash char(64) NOT NULL,
		body longtext NOT NULL, last_updated bigint NOT NULL, PRIMARY KEY (id, agent),
		KEY agent_body_hash_idx (agent, body_hash), KEY resource_last_updated_idx (last_updated),
		KEY application_idx (application)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS cats_v1_rel_template (
		uuid char(26) NOT NULL, id varchar(352), rel_id varchar(352), rel_agent varchar(127) NOT NULL,
		rel_type varchar(64), last_updated bigint, PRIMARY KEY (uuid), KEY id_idx (id), KEY rel_agent_idx (rel_agent),
		KEY rel_type_idx (rel_type), KEY rel_ids_type_idx (id, rel_type, rel_id)) ENGINE=InnoDB`,
}

// ready blocks until the server answers queries.
func (m *mariadb) ready(ctx context.Context, p *process.Process) error {
	db, err := sql.Open("mysql", m.dsn(allUser))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return awaitPart(ctx, p, time.Minute, func(ctx context.Context) error {
		var one int
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	})
}
