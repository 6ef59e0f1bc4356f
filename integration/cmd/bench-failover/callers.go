package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/integration/figure"
	clouddriverv1 "github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/clouddriver/v1/clouddriverv1connect"
)

// calls is what callers were told.
type calls struct {
	done, nothing, unknown int
	// lies are creations that were told to be done and are not there, or the other way round.
	lies    int
	slowest time.Duration
}

// call has eight callers at the given bridges create config maps, each under a name of its own, until ctx ends; then it compares what they were told
// with what is there.
func (b *bench) call(ctx context.Context, bridges ...int) (result calls) {
	var mu sync.Mutex
	var all sync.WaitGroup
	told := map[string]string{} // by account and name
	b.serial++
	for caller := range 8 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				account := b.clusters[(caller*61+n*7)%len(b.clusters)].Name
				name := fmt.Sprintf("call-%d-%d-%d", b.serial, caller, n)
				began := time.Now()
				text, code, err := b.kubectl(context.WithoutCancel(ctx), bridges[caller%len(bridges)], account,
					"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: team-0}\n", "create", "-o", "json", "-f", "-")
				mu.Lock()
				result.slowest = max(result.slowest, time.Since(began))
				switch {
				case err == nil && code == 0:
					result.done++
					told[account+"/"+name] = "done"
				case err == nil && strings.Contains(text, "nothing was changed"), err != nil && strings.Contains(err.Error(), "connection refused"):
					result.nothing++
					told[account+"/"+name] = "nothing"
				default:
					result.unknown++
				}
				if err == nil && code != 0 {
					b.Tell("bridge %d, %s, after %s: %s (%v)", bridges[caller%len(bridges)], account, time.Since(began).Round(time.Millisecond), strings.TrimSpace(text), err)
				}
				mu.Unlock()
				_ = sleep(ctx, b.callers)
			}
		})
	}
	all.Wait()
	for key, what := range told {
		account, name, _ := strings.Cut(key, "/")
		_, code, err := b.kubectl(context.WithoutCancel(ctx), bridges[0], account, "", "--namespace=team-0", "-o", "json", "get", "configMap", name)
		if there := err == nil && code == 0; there != (what == "done") {
			result.lies++
		}
	}
	return result
}

func (b *bench) noteCalls(c calls) {
	b.Note(figure.Line{What: fmt.Sprintf("operations meanwhile: %d done, %d not begun, %d of which nobody knows; the slowest", c.done, c.nothing, c.unknown), Value: c.slowest.Seconds(), Unit: "s"})
	b.Note(figure.Line{What: "… of which it was told something else than what happened", Value: float64(c.lies), Wanted: "0", Met: figure.AtMost(float64(c.lies), 0)})
}

// kubectl runs a command as Clouddriver's plugin does.
func (b *bench) kubectl(ctx context.Context, bridge int, account, stdin string, argv ...string) (stderr string, code int32, err error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	at := b.env.Bridges[bridge]
	secret, err := os.ReadFile(at.PluginSecretFile)
	if err != nil {
		return "", 0, err
	}
	client := clouddriverv1connect.NewClouddriverServiceClient(http.DefaultClient, at.Plugin, connect.WithProtoJSON())
	request := connect.NewRequest(&clouddriverv1.ExecuteRequest{Account: account, Arguments: argv, Stdin: []byte(stdin), TimeoutMs: 60_000})
	request.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	stream, err := client.Execute(ctx, request)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = stream.Close() }()
	code = -1
	var text strings.Builder
	for stream.Receive() {
		text.Write(stream.Msg().GetStderr())
		if e := stream.Msg().GetExit(); e != nil {
			code = e.GetCode()
		}
	}
	return text.String(), code, stream.Err()
}
