package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Token is a row of fairlead_token. Times are milliseconds since 1970 by the database's clock, 0 means never.
type Token struct {
	ID          string
	Hash        [32]byte
	Patterns    []string
	Description string
	// Uses is how many keys may enrol with it, 0: any number. Used is how many have; only counted when Uses is not 0.
	Uses, Used int
	// Role is a person's; "": the token is for agents.
	Role     string
	Created  int64
	Expires  int64
	LastUsed int64
	Revoked  int64
	// Remaining is how many milliseconds of its life were left when it was read; meaningless without Expires.
	Remaining int64
}

const tokenColumns = "id, hash, patterns, description, uses, (SELECT COUNT(*) FROM fairlead_token_use u WHERE u.token = t.id), role, created, expires, last_used, revoked, CAST(expires AS SIGNED) - CAST(" + now + " AS SIGNED)"

// PutToken stores a new token that lives for ttl milliseconds, 0: for ever.
func (s *Store) PutToken(ctx context.Context, t Token, ttl int64) error {
	patterns, err := json.Marshal(t.Patterns)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO fairlead_token (id, hash, patterns, description, uses, role, created, expires, last_used, revoked)
 VALUES (?, ?, ?, ?, ?, ?, `+now+`, IF(? = 0, 0, `+now+` + ?), 0, 0)`, t.ID, t.Hash[:], string(patterns), t.Description, t.Uses, t.Role, ttl, ttl)
	if err != nil {
		return fmt.Errorf("store token: %w", err)
	}
	return nil
}

// TokenByHash finds a token; found is false when there is none.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (t Token, found bool, err error) {
	t, err = scanToken(s.db.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM fairlead_token t WHERE hash = ?`, hash[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, false, nil
	}
	return t, err == nil, err
}

// TokenByID finds a token; found is false when there is none.
func (s *Store) TokenByID(ctx context.Context, id string) (t Token, found bool, err error) {
	t, err = scanToken(s.db.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM fairlead_token t WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, false, nil
	}
	return t, err == nil, err
}

// Redemption is how an enrolment with a token for a number of keys went.
type Redemption int

// What RedeemToken returns.
const (
	// Redeemed: the key has its place, now or from before.
	Redeemed Redemption = iota
	RedeemUnknown
	RedeemRevoked
	// RedeemExpired: the token's time is over and the key is new.
	RedeemExpired
	// RedeemUsedUp: other keys have all its places.
	RedeemUsedUp
)

// RedeemToken gives a key one of a token's places; a key that has one keeps it, however often it comes.
func (s *Store) RedeemToken(ctx context.Context, id string, key [32]byte, agent string) (Redemption, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	var uses, revoked, used, known int64
	var expired bool
	err = tx.QueryRowContext(ctx, `SELECT uses, revoked, expires <> 0 AND expires <= `+now+` FROM fairlead_token WHERE id = ? FOR UPDATE`, id).Scan(&uses, &revoked, &expired)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return RedeemUnknown, nil
	case err != nil:
		return 0, fmt.Errorf("redeem token %s: %w", id, err)
	case revoked != 0:
		return RedeemRevoked, nil
	}
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(public_key = ?), 0) FROM fairlead_token_use WHERE token = ?`, key[:], id).Scan(&used, &known)
	switch {
	case err != nil:
		return 0, fmt.Errorf("redeem token %s: %w", id, err)
	case known > 0:
		return Redeemed, nil
	case expired:
		return RedeemExpired, nil
	case used >= uses:
		return RedeemUsedUp, nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO fairlead_token_use (token, public_key, agent, first_used) VALUES (?, ?, ?, `+now+`)`, id, key[:], agent); err != nil {
		return 0, fmt.Errorf("redeem token %s: %w", id, err)
	}
	return Redeemed, tx.Commit()
}

// Tokens lists all tokens, oldest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+tokenColumns+` FROM fairlead_token t ORDER BY created, id`)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	defer rows.Close()
	var list []Token
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

func scanToken(row interface{ Scan(...any) error }) (Token, error) {
	var t Token
	var hash []byte
	var patterns string
	if err := row.Scan(&t.ID, &hash, &patterns, &t.Description, &t.Uses, &t.Used, &t.Role, &t.Created, &t.Expires, &t.LastUsed, &t.Revoked, &t.Remaining); err != nil {
		return Token{}, err
	}
	if copy(t.Hash[:], hash) != len(t.Hash) {
		return Token{}, fmt.Errorf("token %s: hash of %d bytes", t.ID, len(hash))
	}
	if err := json.Unmarshal([]byte(patterns), &t.Patterns); err != nil {
		return Token{}, fmt.Errorf("token %s: patterns: %w", t.ID, err)
	}
	return t, nil
}

// RevokeToken revokes a token. found is false when there is none.
func (s *Store) RevokeToken(ctx context.Context, id string) (found bool, err error) {
	done, err := s.db.ExecContext(ctx, `UPDATE fairlead_token SET revoked = `+now+` WHERE id = ? AND revoked = 0`, id)
	if err != nil {
		return false, fmt.Errorf("revoke token %s: %w", id, err)
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return n > 0, err
	}
	// Revoked before is as good.
	var n int
	err = s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM fairlead_token WHERE id = ?`, id).Scan(&n)
	return n > 0, err
}

// TouchTokens notes that tokens were used.
func (s *Store) TouchTokens(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.db.ExecContext(ctx, statement{text: `UPDATE {table} SET last_used = ` + now + ` WHERE id IN ({list})`}.sql("fairlead_token", "?", len(ids)), anys(ids)...)
	return err
}
