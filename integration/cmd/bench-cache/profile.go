package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// pprofPort is a free port for the agent's profiles; 0: none are wanted.
func (b *bench) pprofPort() int {
	if b.profiles == "" {
		return 0
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// profile notes where the agent spends its processor time from now on; the function that it returns waits for the end.
func (p *place) profile(name string, lasts time.Duration) (wait func()) {
	if p.agentProfiles == "" {
		return func() {}
	}
	var taken sync.WaitGroup
	taken.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lasts+time.Minute)
		defer cancel()
		for ctx.Err() == nil { // the agent may be about to start
			err := p.fetch(ctx, "profile?seconds="+strconv.Itoa(int(lasts.Seconds())), name+".cpu")
			if err == nil {
				return
			}
			_ = sleep(ctx, 200*time.Millisecond)
		}
	})
	return taken.Wait
}

// heap notes what the agent holds, after a collection.
func (p *place) heap(ctx context.Context, name string) error {
	if p.agentProfiles == "" {
		return nil
	}
	return p.fetch(ctx, "heap?gc=1", name+".heap")
}

func (p *place) fetch(ctx context.Context, what, name string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.agentProfiles+what, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := os.MkdirAll(p.bench.profiles, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(p.bench.profiles, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, answer.Body)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
