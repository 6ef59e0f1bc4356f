package link

import (
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// This file moves frames: each function makes one step and reports whether there was one to make.

// sendUp moves what the agent has for its streams onto the connection, one frame of each at most.
func (n *agentNode) sendUp() (moved bool) {
	c := n.session
	if c == nil {
		return false
	}
	if f := n.core.NextSession(); f != nil {
		moved = true
		if !c.cutUp {
			c.up = append(c.up, f)
		}
	}
	if !c.opened {
		return moved
	}
	return n.sendInventory() || n.sendOperation() || moved
}

func (n *agentNode) sendInventory() bool {
	c := n.session
	f := n.core.NextInventory()
	n.actions()
	if f == nil {
		return false
	}
	if n.w.watch.sent != nil {
		n.w.watch.sent(n, f)
	}
	if !c.cutUp {
		c.invUp = append(c.invUp, f)
	}
	return true
}

func (n *agentNode) sendOperation() bool {
	c := n.session
	if c == nil {
		return false
	}
	f := n.core.NextOperation()
	if f == nil {
		return false
	}
	if !c.cutUp {
		c.opUp = append(c.opUp, f)
	}
	return true
}

// sendDown moves what the bridge has for its streams onto the connection.
func (c *connection) sendDown() (moved bool) {
	if c.hung {
		return false
	}
	if f := c.core.NextSession(); f != nil {
		moved = true
		if !c.cutDown {
			c.down = append(c.down, f)
		}
	}
	if f := c.core.NextInventory(); f != nil {
		moved = true
		c.actions()
		if !c.cutDown {
			c.invDn = append(c.invDn, f)
		}
	}
	if !c.opened {
		return moved
	}
	if f := c.bridge.ops.Next(c.bridge.clock(), c.id); f != nil {
		moved = true
		if !c.cutDown {
			c.opDn = append(c.opDn, f)
		}
	}
	return moved
}

// deliverUp hands the bridge the oldest frame of each stream.
func (c *connection) deliverUp() (moved bool) {
	return c.deliverSessionUp() || c.deliverInventoryUp() || c.deliverOperationUp()
}

func (c *connection) deliverSessionUp() bool {
	if c.hung || len(c.up) == 0 {
		return false
	}
	f := c.up[0]
	c.up = c.up[1:]
	c.tapped(sessionStream, true, f)
	c.core.ReceivedSession(c.bridge.clock(), f)
	c.actions()
	return true
}

func (c *connection) deliverInventoryUp() bool {
	if c.hung || len(c.invUp) == 0 {
		return false
	}
	f := c.invUp[0]
	c.invUp = c.invUp[1:]
	c.tapped(inventoryStream, true, f)
	c.core.ReceivedInventory(c.bridge.clock(), f)
	c.actions()
	return true
}

func (c *connection) deliverOperationUp() bool {
	b := c.bridge
	if c.hung || len(c.opUp) == 0 {
		return false
	}
	f := c.opUp[0]
	c.opUp = c.opUp[1:]
	c.tapped(operationStream, true, f)
	c.core.Heard(b.clock())
	if err := b.ops.Received(b.clock(), c.id, f); err != nil {
		c.core.Close(b.clock(), linkv1.Close_CODE_PROTOCOL, err.Error(), 0)
	}
	b.events()
	c.actions()
	return true
}

// deliverDown hands the agent the oldest frame of each stream.
func (c *connection) deliverDown() bool {
	return c.deliverSessionDown() || c.deliverInventoryDown() || c.deliverOperationDown() || c.deliverEnd()
}

func (c *connection) deliverSessionDown() bool {
	if c.left || len(c.down) == 0 {
		return false
	}
	f := c.down[0]
	c.down = c.down[1:]
	c.tapped(sessionStream, false, f)
	c.agent.core.ReceivedSession(c.agent.clock(), f)
	c.agent.actions()
	return true
}

func (c *connection) deliverInventoryDown() bool {
	if c.left || len(c.invDn) == 0 {
		return false
	}
	f := c.invDn[0]
	c.invDn = c.invDn[1:]
	c.tapped(inventoryStream, false, f)
	if ack := f.GetAck(); ack != nil && c.agent.w.watch.ack != nil {
		c.agent.w.watch.ack(c.agent, ack)
	}
	c.agent.core.ReceivedInventory(c.agent.clock(), f)
	c.agent.actions()
	return true
}

func (c *connection) deliverOperationDown() bool {
	if c.left || len(c.opDn) == 0 {
		return false
	}
	f := c.opDn[0]
	c.opDn = c.opDn[1:]
	c.tapped(operationStream, false, f)
	if f.GetStart() != nil {
		c.started = f
	}
	c.agent.core.ReceivedOperation(c.agent.clock(), f)
	c.agent.actions()
	return true
}

// deliverEnd tells one end that the other is gone, after everything that was on its way.
func (c *connection) deliverEnd() bool {
	switch {
	case c.hung && !c.left && !c.cutDown && len(c.down)+len(c.invDn)+len(c.opDn) == 0 && c.agent.session == c:
		c.agent.lose("the bridge hung up")
		return true
	case c.left && !c.hung && !c.cutUp && len(c.up)+len(c.invUp)+len(c.opUp) == 0:
		c.hang()
		return true
	}
	return false
}

// openStreams tells the bridge that the operations stream is up, once.
func (c *connection) openStreams() {
	if c.opened && !c.hung && !c.left && c.bridge.ops.sessions[c.id] == nil || c.opened && !c.hung && !c.bridge.ops.session(c.id).up {
		c.bridge.ops.Open(c.bridge.clock(), c.id, c.instance)
		c.bridge.events()
	}
}

// settle lets everything move until nothing can, without time.
func (w *world) settle() {
	for moved := true; moved; {
		moved = false
		for _, n := range w.agents {
			for _, a := range n.names {
				moved = n.observe(a) || moved
			}
			moved = n.fetch() || n.sendUp() || moved
			for _, id := range append([]string(nil), n.order...) {
				left := n.runs[id].left
				n.execute(id)
				moved = moved || n.runs[id] == nil || n.runs[id].left < left || n.runs[id].effect && left == 3
			}
		}
		for _, b := range w.bridges {
			if b.stopped {
				continue
			}
			for len(b.requests) > 0 {
				moved = true
				b.request(0)
			}
		}
		for _, c := range w.connections() {
			if !c.bridge.stopped {
				c.openStreams()
				moved = c.sendDown() || c.deliverUp() || moved
			}
			moved = c.deliverDown() || moved
		}
	}
}

// connections lists all that have an end that lives.
func (w *world) connections() []*connection {
	var list []*connection
	for _, b := range w.bridges {
		list = append(list, b.sessions...)
	}
	for _, n := range w.agents {
		if c := n.session; c != nil && c.hung {
			list = append(list, c)
		}
	}
	return list
}

// pass lets time go by, with a tick each second.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		w.now = w.now.Add(min(d, time.Second))
		for _, n := range w.agents {
			n.tick()
		}
		for _, b := range w.bridges {
			if !b.stopped {
				b.tick()
			}
		}
		w.settle()
	}
}

func (c *connection) tapped(kind int, up bool, frame proto.Message) {
	if c.tap != nil {
		c.tap(kind, up, frame)
	}
}
