package store

import "strings"

// Rows are written by statements that hold their values, not by placeholders that the driver fills: it would escape each quote of a body of JSON,
// byte by byte and in a buffer that grows, and the server would take that back byte by byte.

// with is the text for a table and n list items whose values stand in the text itself: write writes them. size is about how large they are.
func (s statement) with(table string, n, size int, write func(text *strings.Builder, i int)) string {
	before, after, _ := strings.Cut(strings.ReplaceAll(s.text, "{table}", quote(table)), "{list}")
	var text strings.Builder
	text.Grow(len(before) + size + len(after))
	text.WriteString(before)
	for i := range n {
		if i > 0 {
			text.WriteByte(',')
		}
		write(&text, i)
	}
	text.WriteString(after)
	return text.String()
}

// writeTuple writes values, and last the database's time, in parentheses.
func writeTuple(text *strings.Builder, values ...string) {
	text.WriteByte('(')
	for _, v := range values {
		writeLiteral(text, v)
		text.WriteByte(',')
	}
	text.WriteString(now + ")")
}

// writeLiteral writes a text as the server reads it. Two bytes mean something between quotes, and in utf8mb4 no character that is longer holds
// them; Open sees to it that connections speak that, and that a backslash escapes.
func writeLiteral(text *strings.Builder, value string) {
	text.WriteByte('\'')
	for {
		i := strings.IndexByte(value, '\'')
		part := value
		if i >= 0 {
			part = value[:i]
		}
		for {
			j := strings.IndexByte(part, '\\')
			if j < 0 {
				break
			}
			text.WriteString(part[:j])
			text.WriteString(`\\`)
			part = part[j+1:]
		}
		text.WriteString(part)
		if i < 0 {
			break
		}
		text.WriteString(`\'`)
		value = value[i+1:]
	}
	text.WriteByte('\'')
}
