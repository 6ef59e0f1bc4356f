package badinput

import (
	"database/sql"
	"testing"

	"connectrpc.com/connect"
	_ "github.com/go-sql-driver/mysql" // the driver

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

func open(t *testing.T, env *testenv.Env) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", env.MySQL.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func stopAgent(t *testing.T, env *testenv.Env) {
	t.Helper()
	if err := env.Stop(t.Context(), "agent", 0, false); err != nil {
		t.Fatal(err)
	}
}

// otherToken makes a token for accounts that nobody has.
func otherToken(t *testing.T, env *testenv.Env) string {
	t.Helper()
	client, err := env.Bridges[0].AdminClient()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.CreateToken(t.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"somebody-elses-*"}}))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Msg.GetToken()
}
