package agent

import (
	"crypto/rand"
	"encoding/hex"
	"os"

	"github.com/fairlead/fairlead/agent/internal/config"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// describe names this process.
func describe(cfg *config.Config) *linkv1.Agent {
	var instance [16]byte
	_, _ = rand.Read(instance[:]) // never fails (crypto/rand)
	name, err := os.Hostname()
	if err != nil {
		name = "agent"
	}
	return &linkv1.Agent{Instance: hex.EncodeToString(instance[:]), Name: name, Group: cfg.Zone, Zone: cfg.Zone, Version: Version()}
}
