package execute

import (
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// owned is the part of a value that a set of fields makes. List items are known by their keys, as in managedFields; a key stays in an
// item of which anything is left.
func owned(v any, fields *fieldpath.Set) any {
	switch v := v.(type) {
	case map[string]any:
		part := map[string]any{}
		for name, inner := range v {
			if kept, ok := ownedAt(inner, field(name), fields); ok {
				part[name] = kept
			}
		}
		return part
	case []any:
		var part []any
		for i, item := range v {
			if e, ok := element(item, i, fields); ok {
				if kept, ok := ownedAt(item, e, fields); ok {
					part = append(part, withKey(kept, e))
				}
			}
		}
		return part
	default:
		return v
	}
}

func ownedAt(v any, e fieldpath.PathElement, fields *fieldpath.Set) (any, bool) {
	inner := fields.WithPrefix(e)
	switch {
	case !inner.Empty():
		return owned(v, inner), true
	case fields.Members.Has(e):
		return v, true
	default:
		return nil, false
	}
}

// element finds the name that a set has for a list's item.
func element(item any, index int, fields *fieldpath.Set) (found fieldpath.PathElement, ok bool) {
	check := func(e fieldpath.PathElement) {
		switch {
		case ok:
		case e.Key != nil:
			object, is := item.(map[string]any)
			ok = is
			for _, k := range *e.Key {
				ok = ok && object[k.Name] != nil && value.Equals(value.NewValueInterface(object[k.Name]), k.Value)
			}
		case e.Value != nil:
			ok = value.Equals(value.NewValueInterface(item), *e.Value)
		case e.Index != nil:
			ok = *e.Index == index
		}
		if ok && found == (fieldpath.PathElement{}) {
			found = e
		}
	}
	fields.Members.Iterate(check)
	fields.Iterate(func(p fieldpath.Path) {
		if len(p) > 0 {
			check(p[0])
		}
	})
	return found, ok
}

func withKey(item any, e fieldpath.PathElement) any {
	object, is := item.(map[string]any)
	if !is || e.Key == nil {
		return item
	}
	for _, k := range *e.Key {
		object[k.Name] = k.Value.Unstructured()
	}
	return object
}

// longValue is what a value may have before shortened leaves it out.
const longValue = 256

// shortened has no long texts as values of fields. What is in a list of texts stays: it is its own key.
func shortened(v any) any {
	switch v := v.(type) {
	case map[string]any:
		short := make(map[string]any, len(v))
		for name, inner := range v {
			if text, is := inner.(string); is && len(text) > longValue {
				inner = ""
			}
			short[name] = shortened(inner)
		}
		return short
	case []any:
		short := make([]any, 0, len(v))
		for _, inner := range v {
			short = append(short, shortened(inner))
		}
		return short
	default:
		return v
	}
}
