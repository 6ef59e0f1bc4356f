package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fence is who may write for an account, as a writer knows it: the holder and its epoch. The epoch alone would do, but for a database
// that was restored to an older state: then an epoch may come up again for another process.
type Fence struct {
	Account string
	// Holder is the instance that attached; "" while nobody has the account.
	Holder string
	Epoch  uint64
}

// Attach raises an account's epoch, which keeps out everybody who wrote for it before, and returns the new one. It waits
// for writes under way.
//
// The new epoch is above resumeEpoch too, so that a database restored to an older state never gives an epoch twice.
// continues tells that instance attached last and that the database remembers it: what was committed for resumeEpoch is
// there. An empty instance holds nothing and never continues.
func (s *Store) Attach(ctx context.Context, account, instance string, resumeEpoch uint64) (epoch uint64, continues bool, err error) {
	attached, err := s.attach(ctx, Bid{Account: account, Instance: instance, ResumeEpoch: resumeEpoch}, false)
	return attached.Epoch, attached.Continues, err
}

// Bid asks for an account that another agent may hold.
type Bid struct {
	Account, Instance string
	ResumeEpoch       uint64
	// Bridge is where the session is that asks. What sessions of the same bridge hold is its own to know.
	Bridge string
	// Over is the epoch of the holder from which the account may be taken; 0: from none that is there.
	Over uint64
	// Again: the session had the account before, and lost it.
	Again bool
}

// Attached answers a Bid.
type Attached struct {
	Epoch     uint64
	Continues bool
	// HeldBy is the bridge that has a session of the holder; then nothing was attached.
	HeldBy string
}

// AttachUnlessHeld is Attach, unless the holder is another process that has a session at another bridge. A session that had the account before and finds
// that its own process has attached it since, at another bridge, is the older one of two and does not take it back.
func (s *Store) AttachUnlessHeld(ctx context.Context, b Bid) (Attached, error) {
	return s.attach(ctx, b, true)
}

func (s *Store) attach(ctx context.Context, b Bid, respect bool) (done Attached, err error) {
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		done = Attached{}
		// Not INSERT IGNORE: that would share-lock a row that is there, and two attaches would deadlock.
		if _, err := tx.ExecContext(ctx, `INSERT INTO fairlead_fence (account, epoch, holder) VALUES (?, 0, '') ON DUPLICATE KEY UPDATE holder = holder`, b.Account); err != nil {
			return err
		}
		var stored uint64
		var holder string
		if err := tx.QueryRowContext(ctx, `SELECT epoch, holder FROM fairlead_fence WHERE account = ? FOR UPDATE`, b.Account).Scan(&stored, &holder); err != nil {
			return err
		}
		if err := refuseReleased(ctx, tx, b.Account, b.Instance); err != nil {
			return err
		}
		another := holder != "" && (holder != b.Instance || b.Again && stored > b.ResumeEpoch)
		if respect && another && (b.Over == 0 || stored != b.Over) {
			if done.HeldBy, err = heldAt(ctx, tx, b.Account, holder, b.Bridge); err != nil || done.HeldBy != "" {
				return err
			}
		}
		if err := refuseHeld(ctx, tx, max(stored, b.ResumeEpoch)); err != nil {
			return err
		}
		done.Continues = b.Instance != "" && holder == b.Instance && b.ResumeEpoch > 0 && stored == b.ResumeEpoch
		done.Epoch = max(stored, b.ResumeEpoch) + 1
		_, err := tx.ExecContext(ctx, `UPDATE fairlead_fence SET epoch = ?, holder = ? WHERE account = ?`, done.Epoch, b.Instance, b.Account)
		return err
	})
	if err != nil {
		return Attached{}, fmt.Errorf("attach account %q: %w", b.Account, err)
	}
	return done, nil
}

// Vacate takes an instance out of the fences of accounts that it holds: nobody holds them then, and it cannot write any more.
func (s *Store) Vacate(ctx context.Context, instance string, accounts []string) error {
	slices.Sort(accounts)
	for part := range slices.Chunk(accounts, statementRows) {
		if _, err := s.db.ExecContext(ctx, `UPDATE fairlead_fence SET holder = '' WHERE holder = ? AND account IN (`+strings.Repeat(",?", len(part))[1:]+`)`,
			append([]any{instance}, anys(part)...)...); err != nil {
			return fmt.Errorf("vacate accounts of %q: %w", instance, err)
		}
	}
	return nil
}

// heldAt is the bridge, another one than self, at which the holder of an account has a session; "": none that lives has one.
func heldAt(ctx context.Context, tx *sql.Tx, account, holder, self string) (bridge string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT s.bridge FROM fairlead_session s JOIN fairlead_bridge b ON b.name = s.bridge
 WHERE s.account = ? AND s.instance = ? AND s.bridge <> ? AND CAST(`+now+` AS SIGNED) - b.heartbeat < ? LIMIT 1`, account, holder, self, BridgeSilence.Milliseconds()).Scan(&bridge)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return bridge, err
}

// refuseReleased keeps everybody out of an account that was released or paused; who only takes the fence away holds nothing.
func refuseReleased(ctx context.Context, tx *sql.Tx, account, instance string) error {
	if instance == "" {
		return nil
	}
	var released int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM fairlead_release WHERE account = ?`, account).Scan(&released); err != nil {
		return err
	}
	if released > 0 {
		return ErrReleased
	}
	var paused int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM fairlead_pause WHERE account = ?`, account).Scan(&paused); err != nil {
		return err
	}
	if paused > 0 {
		return ErrPaused
	}
	return nil
}

// Fences returns the fences of all accounts.
func (s *Store) Fences(ctx context.Context) (map[string]Fence, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT account, epoch, holder FROM fairlead_fence`)
	if err != nil {
		return nil, fmt.Errorf("fences: %w", err)
	}
	return collectFences(rows)
}

// Epochs returns the epochs of all accounts.
func (s *Store) Epochs(ctx context.Context) (map[string]uint64, error) {
	held, err := s.Fences(ctx)
	if err != nil {
		return nil, err
	}
	epochs := map[string]uint64{}
	for account, f := range held {
		epochs[account] = f.Epoch
	}
	return epochs, nil
}

// holdFences share-locks the fences in sorted order, so that no attach happens before the transaction ends, and returns
// the accounts whose fence has another holder or epoch, or which have none. The list must be sorted and hold no account twice.
func holdFences(ctx context.Context, tx *sql.Tx, fences []Fence) (fenced map[string]bool, err error) {
	args := make([]any, len(fences))
	for i, f := range fences {
		args[i] = f.Account
	}
	rows, err := tx.QueryContext(ctx, fenceCheck.sql("fairlead_fence", "?", len(fences)), args...)
	if err != nil {
		return nil, err
	}
	held, err := collectFences(rows)
	if err != nil {
		return nil, err
	}
	fenced = map[string]bool{}
	for _, f := range fences {
		if held[f.Account] != f {
			fenced[f.Account] = true
		}
	}
	return fenced, nil
}

func collectFences(rows *sql.Rows) (map[string]Fence, error) {
	defer rows.Close()
	held := map[string]Fence{}
	for rows.Next() {
		var f Fence
		if err := rows.Scan(&f.Account, &f.Epoch, &f.Holder); err != nil {
			return nil, err
		}
		held[f.Account] = f
	}
	return held, rows.Err()
}
