package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// hopeless shows what ends a bridge that starts, and that what may pass does not.
func hopeless(t *testing.T, d *storetest.DB) {
	s, err := store.Open(store.Options{DSN: d.DSN, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	migration := func(statement string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("-- +goose Up\n" + statement + ";\n-- +goose Down\nSELECT 1;\n")}
	}
	prepare := func(wait time.Duration, files fstest.MapFS) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return s.PrepareWith(ctx, files)
	}
	one := migration("CREATE TABLE fairlead_one (a INT)")
	three := migration("CREATE TABLE fairlead_three (a INT)")
	if err := prepare(time.Minute, fstest.MapFS{"00001_one.sql": one, "00003_three.sql": three}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"two of one number":       {fstest.MapFS{"00001_one.sql": one, "00001_other.sql": three}, "duplicate migration version 1"},
		"one that comes too late": {fstest.MapFS{"00001_one.sql": one, "00002_two.sql": three, "00003_three.sql": three}, "missing (out-of-order) migration"},
		"a table that is there":   {fstest.MapFS{"00001_one.sql": one, "00003_three.sql": three, "00004_four.sql": one}, "already exists"},
		"no SQL":                  {fstest.MapFS{"00001_one.sql": one, "00003_three.sql": three, "00005_five.sql": migration("CREATE NOTHING")}, "syntax"},
	} {
		if err := prepare(time.Minute, c.files); err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	passing := fstest.MapFS{"00001_one.sql": one, "00003_three.sql": three, "00006_six.sql": migration("INSERT INTO fairlead_later VALUES (1)")}
	if err := prepare(300*time.Millisecond, passing); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a table that is not there yet: %v", err)
	}
	d.Exec(t, "CREATE TABLE fairlead_later (a INT)")
	if err := prepare(time.Minute, passing); err != nil {
		t.Error(err)
	}
}
