package dynamic

import (
	"fmt"
	"slices"
	"time"
)

// move is what an event does in a state. Neither to nor refuse: it means nothing there.
type move struct {
	to State
	// do changes what else the account has, and says when it is due next.
	do func(*Account, Event) time.Duration
	// refuse says why a person's wish is not granted.
	refuse string
}

const (
	leaving  = "it is on its way out of Clouddriver; wait until it is INACTIVE"
	vanished = "it is being deleted; add it again when it is gone"
)

// table is the whole life of an account: docs/dynamic-accounts.md shows it, and a test compares the two. A missing event is a mistake, which
// a test finds: what means nothing in a state says so.
var table = map[State]map[Kind]move{
	Inactive: {
		Activate: {to: ToMigrate, do: begin}, Deactivate: {}, Replace: {to: Inactive, do: renew(never)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {}, Refused: {}, Unserved: {}, Due: {}, Left: {}, LeaveFailed: {},
	},
	ToMigrate: {
		Activate: {}, Deactivate: {to: ToDeactivate, do: now}, Replace: {to: ToMigrate, do: renew(0)}, Delete: {to: Deleting, do: now},
		Chosen: {to: Activating, do: give}, NoAgent: {to: Failed, do: fail}, Served: {to: Active, do: served}, Refused: {}, Unserved: {}, Due: {}, Left: {}, LeaveFailed: {},
	},
	Activating: {
		Activate: {}, Deactivate: {to: ToDeactivate, do: now}, Replace: {to: ToMigrate, do: renew(0)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {to: Active, do: served}, Refused: {to: ToMigrate, do: elsewhere}, Unserved: {}, Due: {to: ToMigrate, do: late}, Left: {}, LeaveFailed: {},
	},
	Active: {
		Activate: {}, Deactivate: {to: ToDeactivate, do: now}, Replace: {to: Active, do: renew(never)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {to: Active, do: served}, Refused: {to: Active, do: keepFormer}, Unserved: {to: Orphaned, do: orphan}, Due: {}, Left: {}, LeaveFailed: {},
	},
	Orphaned: {
		Activate: {to: ToMigrate, do: begin}, Deactivate: {to: ToDeactivate, do: now}, Replace: {to: Orphaned, do: renew(never)}, Delete: {to: Deleting, do: now},
		Chosen: {to: Activating, do: give}, NoAgent: {to: Orphaned, do: orphan}, Served: {to: Active, do: served}, Refused: {to: Orphaned, do: orphan}, Unserved: {}, Due: {}, Left: {}, LeaveFailed: {},
	},
	Failed: {
		Activate: {to: ToMigrate, do: begin}, Deactivate: {to: ToDeactivate, do: now}, Replace: {to: ToMigrate, do: renew(0)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {to: Active, do: served}, Refused: {}, Unserved: {}, Due: {to: ToMigrate, do: again}, Left: {}, LeaveFailed: {},
	},
	ToDeactivate: {
		Activate: {refuse: leaving}, Deactivate: {}, Replace: {to: ToDeactivate, do: renew(0)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {}, Refused: {}, Unserved: {}, Due: {to: Deactivating, do: work}, Left: {}, LeaveFailed: {},
	},
	Deactivating: {
		Activate: {refuse: leaving}, Deactivate: {}, Replace: {to: Deactivating, do: renew(LeaveTime)}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {}, Refused: {}, Unserved: {}, Due: {to: Deactivating, do: work}, Left: {to: Inactive, do: rest}, LeaveFailed: {to: Deactivating, do: fail},
	},
	Deleting: {
		Activate: {refuse: vanished}, Deactivate: {refuse: vanished}, Replace: {refuse: vanished}, Delete: {},
		Chosen: {}, NoAgent: {}, Served: {}, Refused: {}, Unserved: {}, Due: {to: Deleting, do: work}, Left: {to: gone}, LeaveFailed: {to: DeleteFailed, do: fail},
	},
	DeleteFailed: {
		Activate: {refuse: vanished}, Deactivate: {refuse: vanished}, Replace: {refuse: vanished}, Delete: {to: Deleting, do: now},
		Chosen: {}, NoAgent: {}, Served: {}, Refused: {}, Unserved: {}, Due: {to: Deleting, do: now}, Left: {to: gone}, LeaveFailed: {},
	},
}

// now: it is due at once.
func now(a *Account, _ Event) time.Duration {
	a.Failures = 0
	return 0
}

// begin starts anew, with all places to try.
func begin(a *Account, _ Event) time.Duration {
	a.Failures, a.Tried, a.Reason = 0, nil, ""
	return 0
}

// renew has another definition or kubeconfig, which is due after so long. Next revision: whoever has the former one is told.
func renew(due time.Duration) func(*Account, Event) time.Duration {
	return func(a *Account, _ Event) time.Duration {
		a.Revision++
		a.Failures, a.Tried, a.Reason = 0, nil, ""
		return due
	}
}

func give(a *Account, e Event) time.Duration {
	a.Place = e.Place
	a.Attempt++
	return ActivateTime
}

func served(a *Account, e Event) time.Duration {
	a.Agent, a.Failures, a.Tried, a.Reason = e.Agent, 0, nil, ""
	return never
}

// elsewhere looks for other agents: those of this place do not serve it.
func elsewhere(a *Account, e Event) time.Duration {
	a.Tried = append(a.Tried, a.Place)
	a.Reason = joined(a.Reason, e.Reason)
	return 0
}

func late(a *Account, _ Event) time.Duration {
	return elsewhere(a, Event{Reason: fmt.Sprintf("%s: no agent declared it within %s", a.Place, ActivateTime)})
}

// again tries all places anew.
func again(a *Account, _ Event) time.Duration {
	a.Tried = nil
	a.Reason = ""
	return 0
}

func fail(a *Account, e Event) time.Duration {
	a.Failures++
	if len(a.Tried) == 0 {
		a.Reason = ""
	}
	a.Reason = joined(a.Reason, e.Reason)
	return retry(a.Failures)
}

// keepFormer: the new revision is not taken, the former one goes on.
func keepFormer(a *Account, e Event) time.Duration {
	a.Reason = "the last change is not in force, what was before still is: " + e.Reason
	return never
}

func orphan(a *Account, e Event) time.Duration {
	a.Reason = e.Reason
	return OrphanTime
}

// work lets one bridge work on it for a while.
func work(*Account, Event) time.Duration { return LeaveTime }

func rest(a *Account, _ Event) time.Duration {
	a.Place, a.Agent, a.Failures, a.Tried, a.Reason = "", "", 0, nil, ""
	return never
}

// joined adds a reason to those that are there.
func joined(reasons, more string) string {
	switch {
	case reasons == "":
		return more
	case more == "" || reasons == more:
		return reasons
	}
	return reasons + "; " + more
}

// tried tells whether a place has failed in this round.
func (a Account) tried(place string) bool { return slices.Contains(a.Tried, place) }
