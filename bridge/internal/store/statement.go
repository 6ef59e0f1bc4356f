package store

import "strings"

// statement is one SQL text that runs often, with the index that it uses in the table it is about. A test asks a real
// server for the plan of each.
//
// {table} stands for a table's name, {list} for the values of an IN list or the tuples of VALUES, {union} for more rows of a derived table.
type statement struct {
	name  string
	index string
	// covering says that the index alone answers: no row is read.
	covering bool
	text     string
}

// sql is the text for a table and n list items, each written as item.
func (s statement) sql(table, item string, n int) string {
	list := ""
	if n > 0 {
		list = strings.Repeat(","+item, n)[1:]
	}
	text := strings.ReplaceAll(s.text, "{table}", quote(table))
	text = strings.ReplaceAll(text, "{list}", list)
	return strings.ReplaceAll(text, "{union}", strings.Repeat(" UNION ALL "+item, n))
}

// quote writes a name as MySQL wants it. Names come from cats.TableName, which leaves letters, digits and underscores.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// likePrefix is the LIKE pattern for everything that begins with prefix.
func likePrefix(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(prefix) + "%"
}

// now is the database's clock in milliseconds since 1970; connections run in UTC.
const now = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)"

// The hot statements. statements lists them for the test of their plans.
var (
	fenceCheck = statement{
		name: "fence check", index: "PRIMARY",
		// Without the hint a small table is scanned, and the scan waits for accounts that are not asked for.
		text: `SELECT account, epoch, holder FROM {table} FORCE INDEX (PRIMARY) WHERE account IN ({list}) ORDER BY account LOCK IN SHARE MODE`,
	}
	// The IFs keep a row whose id or agent is equal only under the collation as it is, and last_updated when the body
	// is the same: then the row does not change at all.
	putRows = statement{
		name: "put rows", index: "PRIMARY",
		text: `INSERT INTO {table} (id, agent, body_hash, body, last_updated) VALUES {list} ON DUPLICATE KEY UPDATE
 last_updated = IF(body_hash = VALUES(body_hash) OR NOT ` + exact + `, last_updated, VALUES(last_updated)),
 body = IF(` + exact + `, VALUES(body), body),
 body_hash = IF(` + exact + `, VALUES(body_hash), body_hash)`,
	}
	presentRows = statement{
		name: "present rows", index: "PRIMARY",
		text: `SELECT id FROM {table} FORCE INDEX (PRIMARY) WHERE agent = ? AND CAST(agent AS BINARY) = CAST(? AS BINARY) AND id IN ({list})`,
	}
	presentLinks = statement{
		name: "present links", index: "PRIMARY", covering: true,
		text: `SELECT uuid FROM {table} FORCE INDEX (PRIMARY) WHERE uuid IN ({list})`,
	}
	// Deletions join the keys first, and look each up: a condition on the table lets the server scan it while it is small, whatever the hint says,
	// and a scan waits for rows of others and deadlocks. The first SELECT of the keys
	// names their columns, and has no row; the collation is that of the tables.
	deleteRows = statement{
		name: "delete rows", index: "PRIMARY",
		text: `DELETE t FROM (SELECT '' AS id, '' AS agent FROM DUAL WHERE FALSE{union}) AS k
 STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.id = k.id COLLATE utf8mb4_unicode_ci AND t.agent = k.agent COLLATE utf8mb4_unicode_ci
 WHERE CAST(t.id AS BINARY) = CAST(k.id AS BINARY) AND CAST(t.agent AS BINARY) = CAST(k.agent AS BINARY)`,
	}
	putLinks = statement{
		name: "put links", index: "PRIMARY",
		text: `INSERT INTO {table} (uuid, id, rel_id, rel_agent, rel_type, last_updated) VALUES {list} ON DUPLICATE KEY UPDATE
 id = VALUES(id), rel_id = VALUES(rel_id), rel_agent = VALUES(rel_agent), rel_type = VALUES(rel_type)`,
	}
	deleteLinks = statement{
		name: "delete links", index: "PRIMARY",
		text: `DELETE t FROM (SELECT '' AS uuid FROM DUAL WHERE FALSE{union}) AS k
 STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.uuid = k.uuid COLLATE utf8mb4_unicode_ci`,
	}
	rowDigests = statement{
		name: "digest of rows", index: "agent_body_hash_idx", covering: true,
		text: `SELECT CAST(agent AS BINARY) AS exact_agent, COUNT(*), BIT_XOR(CAST(CONV(LEFT(body_hash, 16), 16, 10) AS UNSIGNED)) FROM {table} WHERE agent IN ({list}) GROUP BY exact_agent`,
	}
	linkDigests = statement{
		name: "digest of links", index: "rel_agent_idx", covering: true,
		text: `SELECT CAST(rel_agent AS BINARY) AS exact_agent, COUNT(*), BIT_XOR(CAST(CONV(RIGHT(uuid, 12), 32, 10) AS UNSIGNED)) FROM {table} WHERE rel_agent IN ({list}) GROUP BY exact_agent`,
	}
	rowEntries = statement{
		// Bodies are read too: one that somebody edited does not have the hash that stands beside it.
		name: "entries of rows", index: "agent_body_hash_idx",
		text: `SELECT id, IF(body_hash = SHA2(body, 256), LEFT(body_hash, 16), '') FROM {table} WHERE agent = ? AND CAST(agent AS BINARY) = CAST(? AS BINARY)`,
	}
	linkEntries = statement{
		name: "entries of links", index: "rel_agent_idx",
		text: `SELECT uuid, id, rel_id, rel_type FROM {table} WHERE rel_agent = ? AND CAST(rel_agent AS BINARY) = CAST(? AS BINARY)`,
	}
	rowsOfAccount = statement{
		name: "rows of an account", index: "agent_body_hash_idx", covering: true,
		text: `SELECT id, agent FROM {table} WHERE agent LIKE ? AND CAST(agent AS BINARY) LIKE CAST(? AS BINARY) LIMIT ?`,
	}
	linksOfAccount = statement{
		name: "links of an account", index: "rel_agent_idx",
		text: `SELECT uuid, id FROM {table} WHERE rel_agent LIKE ? AND CAST(rel_agent AS BINARY) LIKE CAST(? AS BINARY) LIMIT ?`,
	}
	// agentsOf jumps from one agent to the next in the index: its cost does not depend on how many rows each has.
	agentsOf = statement{
		name: "agents with rows", index: "agent_body_hash_idx", covering: true,
		text: `SELECT DISTINCT agent FROM {table}`,
	}
	relAgentsOf = statement{
		name: "agents with links", index: "rel_agent_idx", covering: true,
		text: `SELECT DISTINCT rel_agent FROM {table}`,
	}
	linkTypes = statement{
		name: "types linked to", index: "rel_type_idx", covering: true,
		text: `SELECT DISTINCT rel_type FROM {table} WHERE rel_type IS NOT NULL`,
	}
	rowsOfOthers = statement{
		name: "rows of an account's other agents", index: "agent_body_hash_idx", covering: true,
		text: `SELECT id, agent FROM {table} WHERE agent LIKE ? AND agent <> ? AND CAST(agent AS BINARY) LIKE CAST(? AS BINARY) LIMIT ?`,
	}
	linksOfOthers = statement{
		name: "links of an account's other agents", index: "rel_agent_idx",
		text: `SELECT uuid, id FROM {table} WHERE rel_agent LIKE ? AND rel_agent <> ? AND CAST(rel_agent AS BINARY) LIKE CAST(? AS BINARY) LIMIT ?`,
	}
	accountRevisions = statement{
		name: "revisions of accounts", index: "name_revision_idx", covering: true,
		text: `SELECT name, removing, revision FROM {table} FORCE INDEX (name_revision_idx)`,
	}

	statements = []statement{fenceCheck, presentRows, presentLinks, deleteRows, deleteLinks, rowDigests, linkDigests, rowEntries, linkEntries,
		rowsOfAccount, linksOfAccount, rowsOfOthers, linksOfOthers, agentsOf, relAgentsOf, linkTypes, accountRevisions}
)

// exact is true where the key that an upsert met is byte for byte the one that it brought.
const exact = `(CAST(id AS BINARY) = CAST(VALUES(id) AS BINARY) AND CAST(agent AS BINARY) = CAST(VALUES(agent) AS BINARY))`
