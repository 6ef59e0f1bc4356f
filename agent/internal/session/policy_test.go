package session

import (
	"testing"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

func TestAClusterIsToldWhatItsBridgeWantsCachedAndNothingBefore(t *testing.T) {
	b := newBridge(t)
	told := make(chan *linkv1.CachePolicy, 10)
	start(t, b.address, func(_ *Config, s *scripted) { s.cache = told })
	p := b.session()
	p.welcome(1 << 20)
	select {
	case policy := <-told:
		t.Fatalf("told %v before the bridge said anything", policy)
	default:
	}
	verdict := func(v *linkv1.AccountVerdict) {
		p.say(&linkv1.SessionDown{Frame: &linkv1.SessionDown_Verdict{Verdict: v}})
	}
	verdict(&linkv1.AccountVerdict{Account: "a", Reason: "refused for the test", Cache: &linkv1.CachePolicy{All: true}})
	verdict(&linkv1.AccountVerdict{Account: "somebody's", Accepted: true, Cache: &linkv1.CachePolicy{All: true}})
	want := &linkv1.CachePolicy{Kinds: []string{"configMap"}, OmitKinds: []string{"pod"}, OnlySpinnakerManaged: true}
	verdict(&linkv1.AccountVerdict{Account: "a", Accepted: true, Cache: want})
	if got := next(t, "the policy", told); !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	verdict(&linkv1.AccountVerdict{Account: "a", Accepted: true})
	if got := next(t, "the policy of a bridge that has none", told); got == nil || !proto.Equal(got, &linkv1.CachePolicy{}) {
		t.Error(got)
	}
}
