package store_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/bridge/internal/store/storetest"
)

// hostile shows that no text leaves its quotes, whatever character set the DSN names.
func hostile(t *testing.T, d *storetest.DB) {
	texts := []string{
		"", "'", "\\", "\\'", "'\\", `''\\''`, `\'); DROP TABLE cats_v1_pod; -- `, "a\x00b\n\r\x1a\t\"`?%_", "größe 漢字 😀 \\ '", "\u00bf'", "誠'", "縗\\", "?", ":x", "/*", "#", strings.Repeat("'\\", 3000),
	}
	random := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		var text strings.Builder
		for range random.IntN(40) {
			text.WriteRune([]rune("'\\\"\x00\n縗誠é😀ab;-")[random.IntN(13)])
		}
		texts = append(texts, text.String())
	}
	if _, _, err := d.Open(t).Attach(t.Context(), "a", "i", 0); err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{d.DSN, d.DSN + "&charset=latin1", d.DSN + "&charset=utf8mb4&collation=utf8mb4_bin&sql_mode=%27NO_BACKSLASH_ESCAPES,ANSI_QUOTES%27"} {
		s, err := store.Open(store.Options{DSN: dsn, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := errors.Join(s.Migrate(t.Context()), s.EnsureTables(t.Context(), "cats_v1_pod", "cats_v1_pod_rel")); err != nil {
			t.Fatal(err)
		}
		var change store.TableChange
		change.Rows, change.Links = "cats_v1_pod", "cats_v1_pod_rel"
		for i, text := range texts {
			row := store.Row{ID: fmt.Sprint(i) + clipped(text, 100), Agent: "a'\\" + clipped(text, 50), Hash: "h", Body: text}
			change.Put = append(change.Put, row)
			change.PutLinks = append(change.PutLinks, store.Link{UUID: fmt.Sprint(i), ID: row.ID, RelID: row.ID, RelAgent: row.Agent, RelType: "t'\\"})
		}
		write := func(c store.TableChange) {
			t.Helper()
			if _, err := s.WriteCache(t.Context(), []store.Fence{{Account: "a", Holder: "i", Epoch: 1}}, func(map[string]bool) []store.TableChange { return []store.TableChange{c} }); err != nil {
				t.Fatal(err)
			}
		}
		write(change)
		for _, r := range change.Put {
			if n := d.Count(t, "cats_v1_pod", "HEX(id) = ? AND HEX(agent) = ? AND HEX(body) = ?", hexOf(r.ID), hexOf(r.Agent), hexOf(r.Body)); n != 1 {
				t.Fatalf("%q is not what is stored", r)
			}
			if n := d.Count(t, "cats_v1_pod_rel", "HEX(id) = ? AND HEX(rel_agent) = ?", hexOf(r.ID), hexOf(r.Agent)); n != 1 {
				t.Fatalf("the link of %q is not what is stored", r)
			}
		}
		gone := store.TableChange{Rows: change.Rows, Links: change.Links, Delete: change.Put}
		for _, l := range change.PutLinks {
			gone.DeleteLinks = append(gone.DeleteLinks, l.UUID)
		}
		write(gone)
		if n := d.Count(t, "cats_v1_pod", "TRUE") + d.Count(t, "cats_v1_pod_rel", "TRUE"); n != 0 {
			t.Errorf("%d rows and links are left", n)
		}
	}
}

func hexOf(text string) string { return strings.ToUpper(hex.EncodeToString([]byte(text))) }

func clipped(text string, n int) string {
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return text
}
