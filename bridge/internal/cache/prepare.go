package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// prepare turns a write into what the database will see. What cannot be stored is rejected here already, as far as that can
// be known without the database.
func (w *Writer) prepare(write Write) *task {
	w.caps.follow(write.Account)
	t := &task{account: write.Account, holder: write.Instance, epoch: write.Epoch, items: make([]item, 0, len(write.Changes))}
	for _, change := range write.Changes {
		it, err := w.item(write.Account, change)
		if err != nil {
			t.rejected = append(t.rejected, it.rejection(t.account, t.epoch, err.Error()))
			continue
		}
		t.bytes += it.bytes()
		t.items = append(t.items, it)
	}
	return t
}

// item makes an item of a change. With an error, the item still says what it was about.
func (w *Writer) item(account string, change *linkv1.Change) (item, error) {
	switch c := change.GetChange().(type) {
	case *linkv1.Change_PutRow:
		return w.putRow(account, c.PutRow)
	case *linkv1.Change_DeleteRow:
		return w.rowItem(account, keyOf(c.DeleteRow))
	case *linkv1.Change_PutLink:
		it, err := w.linkItem(account, c.PutLink)
		if err == nil {
			err = w.caps.kinds(account, it.typ, cats.Type(it.relType))
		}
		it.put = true
		return it, err
	case *linkv1.Change_DeleteLink:
		return w.linkItem(account, c.DeleteLink)
	}
	return item{}, errors.New("the change is of a kind that this bridge does not know")
}

func (w *Writer) putRow(account string, row *linkv1.Row) (item, error) {
	key := keyOf(row.GetKey())
	it, err := w.rowItem(account, key)
	if err != nil {
		return it, err
	}
	if err := w.caps.kinds(account, key.Type); err != nil {
		return it, err
	}
	body := row.GetBody()
	if len(body) > w.o.MaximumBody {
		return it, fmt.Errorf("body has %d bytes, %d are the limit (cache.maximumBodyBytes)", len(body), w.o.MaximumBody)
	}
	if err := checkBody(account, key, it.row.ID, body); err != nil {
		return it, err
	}
	hash := sha256.Sum256(body)
	it.put, it.row.Hash, it.row.Body = true, hex.EncodeToString(hash[:]), string(body)
	return it, nil
}

func (w *Writer) rowItem(account string, key cats.Key) (item, error) {
	it := item{typ: key.Type, entry: key.Path()}
	if err := w.checkType(key.Type); err != nil {
		return it, err
	}
	id, err := key.ID(account)
	if err != nil {
		return it, err
	}
	it.row = store.Row{ID: id, Agent: w.agent(account, key.Type)}
	return it, nil
}

func (w *Writer) linkItem(account string, l *linkv1.Link) (item, error) {
	link := cats.Link{From: keyOf(l.GetFrom()), To: keyOf(l.GetTo())}
	it := item{typ: link.From.Type, relType: string(link.To.Type), entry: link.ID(account)}
	for _, t := range []cats.Type{link.From.Type, link.To.Type} {
		if err := w.checkType(t); err != nil {
			return it, err
		}
	}
	if len(link.To.Type) > cats.MaximumTypeLength {
		return it, fmt.Errorf("links to type %s cannot be stored: it is longer than %d characters", link.To.Type, cats.MaximumTypeLength)
	}
	relAgent := w.relAgent(account, link.To.Type)
	if !strings.HasPrefix(relAgent, string(link.To.Type)+":"+account+"/") {
		return it, fmt.Errorf("links to type %s cannot be stored: with the account's name it is too long for Clouddriver's rel_agent column", link.To.Type)
	}
	from, err := link.From.ID(account)
	if err != nil {
		return it, err
	}
	to, err := link.To.ID(account)
	if err != nil {
		return it, err
	}
	it.link = &store.Link{UUID: it.entry, ID: from, RelID: to, RelAgent: relAgent, RelType: string(link.To.Type)}
	return it, nil
}

func keyOf(k *linkv1.Key) cats.Key {
	return cats.Key{Type: cats.Type(k.GetType()), Scope: k.GetScope(), Name: k.GetName()}
}

// checkType lets through what can be a kind: an agent's word becomes the name of a table.
func (w *Writer) checkType(t cats.Type) error {
	if t == "" || len(t) > 253 {
		return fmt.Errorf("type %q is not a kind", clip(string(t)))
	}
	for i := range len(t) {
		c := t[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-') {
			continue
		}
		return fmt.Errorf("type %q is not a kind", clip(string(t)))
	}
	if known, room := w.tables.has(w.rowTable(t)); !known && !room {
		return fmt.Errorf("type %s gets no table: %d kinds have tables already", t, maximumTables)
	}
	return nil
}
