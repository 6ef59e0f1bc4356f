package faultnet

import "time"

// Faults is what goes wrong; its zero value is a good network.
type Faults struct {
	// Cut resets what is open and refuses what is new.
	Cut bool `json:"cut,omitempty"`
	// SwallowUp loses what clients send, SwallowDown what targets send; both stay connected.
	SwallowUp   bool `json:"swallowUp,omitempty"`
	SwallowDown bool `json:"swallowDown,omitempty"`
	// Delay passes before each piece is handed on, each way.
	Delay time.Duration `json:"delay,omitempty"`
	// BytesPerSecond that pass each way of a connection; 0: any number.
	BytesPerSecond int `json:"bytesPerSecond,omitempty"`
	// Loss is the share of pieces (0 to 1) that come only after Stall, which is 200 ms unless given: a retransmission.
	Loss  float64       `json:"loss,omitempty"`
	Stall time.Duration `json:"stall,omitempty"`
	// Idle ends connections on which nothing came for so long, with a reset; Forget without a word, as a NAT does: from then on they swallow.
	Idle   time.Duration `json:"idle,omitempty"`
	Forget time.Duration `json:"forget,omitempty"`
	// Age ends connections that are older.
	Age time.Duration `json:"age,omitempty"`
}

// Named are faults by the names that people give them.
func Named() map[string]Faults {
	return map[string]Faults{
		"none":      {},
		"cut":       {Cut: true},
		"half-open": {SwallowUp: true, SwallowDown: true},
		"slow":      {Delay: 150 * time.Millisecond, BytesPerSecond: 128 << 10},
		"lossy":     {Delay: 20 * time.Millisecond, Loss: 0.05},
		"aging":     {Age: 30 * time.Second},
		"nat":       {Forget: 5 * time.Second},
	}
}

func (f Faults) stall() time.Duration {
	if f.Stall > 0 {
		return f.Stall
	}
	return 200 * time.Millisecond
}
