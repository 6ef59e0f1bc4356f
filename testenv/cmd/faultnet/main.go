// Command faultnet is a faultnet.Proxy as a process: what an environment's agents dial in the place of its bridges. PUT /faults (JSON) sets what
// goes wrong, POST /reset resets all connections, GET /state tells what is open.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/testenv/faultnet"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where connections come from")
	control := flag.String("control", "", "where it is told what goes wrong")
	targets := flag.String("targets", "", "where connections go in turn, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *listen, *control, strings.Split(*targets, ","))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultnet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, control string, targets []string) error {
	proxy, err := faultnet.Listen(listen, targets...)
	if err != nil {
		return err
	}
	defer proxy.Close()
	server := &http.Server{Addr: control, Handler: routes(proxy), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	_ = server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func routes(proxy *faultnet.Proxy) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		var f faultnet.Faults
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		proxy.Set(f)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { proxy.Reset() })
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		up, down := proxy.Bytes()
		_ = json.NewEncoder(w).Encode(map[string]any{"open": proxy.Open(), "accepted": proxy.Accepted(), "up": up, "down": down})
	})
	return mux
}
