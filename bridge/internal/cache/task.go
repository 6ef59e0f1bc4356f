package cache

import (
	"time"

	"github.com/fairlead/fairlead/bridge/internal/store"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// task is a write as the database will see it.
type task struct {
	account string
	holder  string
	epoch   uint64
	items   []item
	bytes   int
	came    time.Time
	// What was found wrong before the database was asked.
	rejected []*linkv1.Rejected
	// A barrier writes nothing: it ends when everything before it has.
	barrier bool
	done    func(outcome)
	// release is called when the task has ended, whatever became of it.
	release []func()
}

func (t *task) fence() store.Fence {
	return store.Fence{Account: t.account, Holder: t.holder, Epoch: t.epoch}
}

// outcome is how a task ended.
type outcome struct {
	rejected []*linkv1.Rejected
	deleted  int
	err      error
}

// item is a new state of one row or one link.
type item struct {
	typ  cats.Type // of the row, or of the link's start
	put  bool
	row  store.Row // unless link
	link *store.Link
	// As the agent knows it, for reports.
	relType string
	entry   string
}

// identity tells items that are states of the same thing.
func (i *item) identity() string {
	if i.link != nil {
		return i.link.UUID
	}
	return string(i.typ) + " " + i.row.ID + " " + i.row.Agent
}

func (i *item) bytes() int {
	// What the statement holds besides the body is about this much.
	const overhead = 256
	return len(i.row.Body) + overhead
}

func (i *item) rejection(account string, epoch uint64, reason string) *linkv1.Rejected {
	return &linkv1.Rejected{
		Account: account, Epoch: epoch, Key: i.entry, Reason: reason,
		Group: &linkv1.Group{Type: string(i.typ), RelType: i.relType},
	}
}

// lowerCaseNames are kinds whose names the API server takes in lower case only: their ids never differ in case alone.
var lowerCaseNames = func() map[cats.Type]bool {
	set := map[cats.Type]bool{}
	for _, t := range cats.DefaultTypes() {
		set[t] = true
	}
	return set
}()

// changes sorts the latest state of each item by table. Tasks of an account must be in order.
func (w *Writer) changes(tasks []*task, fenced map[string]bool) []store.TableChange {
	last := map[string]*item{}
	order := make([]string, 0, len(tasks))
	for _, t := range tasks {
		if fenced[t.account] {
			continue
		}
		for i := range t.items {
			id := t.items[i].identity()
			if _, seen := last[id]; !seen {
				order = append(order, id)
			}
			last[id] = &t.items[i]
		}
	}
	byType := map[cats.Type]*store.TableChange{}
	for _, id := range order {
		it := last[id]
		c := byType[it.typ]
		if c == nil {
			c = &store.TableChange{Rows: w.rowTable(it.typ), Links: w.linkTable(it.typ), Folds: !lowerCaseNames[it.typ], Shared: it.typ == cats.Applications}
			byType[it.typ] = c
		}
		switch {
		case it.link != nil && it.put:
			c.PutLinks = append(c.PutLinks, *it.link)
		case it.link != nil:
			c.DeleteLinks = append(c.DeleteLinks, it.link.UUID)
		case it.put:
			c.Put = append(c.Put, it.row)
		default:
			c.Delete = append(c.Delete, it.row)
		}
	}
	list := make([]store.TableChange, 0, len(byType))
	for _, c := range byType {
		list = append(list, *c)
	}
	return list
}

// collided are the rejections for the task's rows that met a row whose id is equal to the database.
func collided(t *task, rows []store.Row) (list []*linkv1.Rejected) {
	for _, r := range rows {
		for i := range t.items {
			if it := &t.items[i]; it.put && it.link == nil && it.row.ID == r.ID && it.row.Agent == r.Agent {
				list = append(list, it.rejection(t.account, t.epoch, "a row is there whose id MySQL takes for the same (its names differ only in case or accents)"))
				break
			}
		}
	}
	return list
}
