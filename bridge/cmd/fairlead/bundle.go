package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bridge"
	"github.com/fairlead/fairlead/bridge/internal/support"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func supportCommand(o *options) *cobra.Command {
	file := ""
	c := &cobra.Command{
		Use: "support-bundle", Short: "Write a file with what helps somebody else to understand this install, without secrets", Args: cobra.NoArgs,
		Long: "Writes a .tar.gz with a bridge's configuration, last log lines, metrics, goroutines, accounts, agents, latest operations and audit entries, and what \"doctor\" says.\n" +
			"Secrets are taken out: what the bridge knows to be one, and what looks like one. It holds names of accounts, namespaces, objects and users. It needs an operator.",
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				file = "fairlead-support-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			files, err := o.gather(c)
			if err != nil {
				return err
			}
			if err := writeBundle(file, files); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s holds %d files. Look through it before you give it away.\n", file, len(files))
			return err
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "where to write it; by default fairlead-support-TIME.tar.gz in this directory")
	return c
}

// gather asks for everything. What cannot be had is told in its file, but for what the bridge itself makes.
func (o *options) gather(c *cobra.Command) ([]*adminv1.SupportFile, error) {
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	made, err := client.GetSupport(c.Context(), connect.NewRequest(&adminv1.GetSupportRequest{}))
	if err != nil {
		return nil, err
	}
	files := made.Msg.GetFiles()
	redactor := support.NewRedactor()
	add := func(name string, m proto.Message, err error) {
		content := []byte{}
		if err == nil {
			content, err = protojson.MarshalOptions{Multiline: true}.Marshal(m)
		}
		if err != nil {
			content = fmt.Appendf(nil, "could not be had: %v\n", err)
		}
		files = append(files, &adminv1.SupportFile{Name: name, Content: redactor.Redact(content)})
	}
	status, err := client.GetStatus(c.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	add("status.json", message(status), err)
	accounts, err := client.ListAccounts(c.Context(), connect.NewRequest(&adminv1.ListAccountsRequest{}))
	add("accounts.json", message(accounts), err)
	agents, err := client.ListAgents(c.Context(), connect.NewRequest(&adminv1.ListAgentsRequest{}))
	add("agents.json", message(agents), err)
	modes, err := client.ListOperationsModes(c.Context(), connect.NewRequest(&adminv1.ListOperationsModesRequest{}))
	add("operation-modes.json", message(modes), err)
	findings, err := client.Diagnose(c.Context(), connect.NewRequest(&adminv1.DiagnoseRequest{}))
	add("doctor.json", message(findings), err)
	return append(files, &adminv1.SupportFile{Name: "command.txt", Content: fmt.Appendf(nil, "fairlead %s\n", bridge.Version())}), nil
}

// message is what a response holds; nil if there is none.
func message[M any, P interface {
	*M
	proto.Message
}](r *connect.Response[M]) proto.Message {
	if r == nil {
		return nil
	}
	return P(r.Msg)
}

// writeBundle writes the files, readable by their owner alone. It replaces nothing.
func writeBundle(name string, files []*adminv1.SupportFile) (err error) {
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return usage("--file: %v", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	packed := gzip.NewWriter(out)
	archive := tar.NewWriter(packed)
	now := time.Now()
	for _, f := range files {
		header := &tar.Header{Name: "fairlead-support/" + f.GetName(), Mode: 0o600, Size: int64(len(f.GetContent())), ModTime: now}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.GetContent()); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), packed.Close())
}
