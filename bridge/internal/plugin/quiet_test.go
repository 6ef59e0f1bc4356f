package plugin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuietIsWhenNobodyHasCalledForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{callers: newCallers()}
		call := func(takes time.Duration) {
			handler := s.callers.counted(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(takes) }))
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
		}
		// A stream of an hour, then commands with pauses that are shorter than quiet, two of them at once.
		go func() {
			call(time.Hour)
			time.Sleep(9 * time.Second)
			go call(30 * time.Second)
			call(time.Minute)
			time.Sleep(9 * time.Second)
			call(time.Second)
		}()
		synctest.Wait()
		began := time.Now()
		s.AwaitQuiet(t.Context(), 10*time.Second)
		if want, got := time.Hour+9*time.Second+time.Minute+9*time.Second+time.Second+10*time.Second, time.Since(began); got != want {
			t.Errorf("quiet after %s, want %s", got, want)
		}
	})
}

func TestNobodyIsWaitedForLongerThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{callers: newCallers()}
		s.callers.begin("")
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Minute)
		defer cancel()
		began := time.Now()
		s.AwaitQuiet(ctx, 10*time.Second)
		if got := time.Since(began); got != 11*time.Minute {
			t.Errorf("waited %s", got)
		}
	})
}
