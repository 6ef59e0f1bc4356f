package cache

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead/fairlead/proto/cats"
)

// TestWhatAnAgentRendersOfRealObjectsIsTaken reads the objects of two recorded clusters.
func TestWhatAnAgentRendersOfRealObjectsIsTaken(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "proto", "cats", "testdata", "golden", "*", "objects.jsonl"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	rows := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		inventory := cats.NewInventory("a", cats.Options{AllApplicationRelationships: true})
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var object map[string]any
			if err := json.Unmarshal(lines.Bytes(), &object); err != nil {
				t.Fatal(err)
			}
			changes, err := inventory.Put(object)
			if err != nil {
				continue // an id that is too long
			}
			for _, c := range changes {
				if c.Kind != cats.PutRow {
					continue
				}
				rows++
				id, err := c.Key.ID("a")
				if err != nil {
					t.Fatal(err)
				}
				if err := checkBody("a", c.Key, id, c.Body); err != nil {
					t.Errorf("%s: %v\n%.300s", c.Key, err, c.Body)
				}
			}
		}
		if err := lines.Err(); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
	if rows < 500 {
		t.Errorf("only %d rows", rows)
	}
}
