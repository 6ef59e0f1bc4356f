package main

import (
	"database/sql"
	"os/exec"

	"github.com/fairlead/fairlead/integration/figure"
	"github.com/fairlead/fairlead/testenv"
	"github.com/fairlead/fairlead/testenv/fakekube"
)

// bench collects what was measured.
type bench struct {
	figure.Sheet
	sizes

	json bool
	end  []func() error
	dir  string
	env  *testenv.Env
	db   *sql.DB
	// clusters have two applications each; the first of them are changed by nothing but probes.
	clusters     []*fakekube.Cluster
	applications []*fakekube.Application
	quiet        int
	files        []string
	fleet        *exec.Cmd
	serial       int
}
