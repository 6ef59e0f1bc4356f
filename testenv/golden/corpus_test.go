package golden

import (
	"testing"

	"github.com/fairlead/fairlead/proto/cats"
)

func TestCorpusHoldsEveryKindThatClouddriverCachesByDefault(t *testing.T) {
	objects, err := Corpus()
	if err != nil {
		t.Fatal(err)
	}
	count := map[cats.Type]int{}
	seen := map[cats.Key]bool{}
	for _, o := range objects {
		key, err := cats.KeyOf(o.Object)
		if err != nil {
			t.Error(err)
		}
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		count[key.Type]++
	}
	for _, typ := range cats.DefaultTypes() {
		if count[typ] == 0 {
			t.Errorf("no %s", typ)
		}
	}
	if len(objects) < 60 {
		t.Errorf("%d objects, 60 are wanted", len(objects))
	}
}
