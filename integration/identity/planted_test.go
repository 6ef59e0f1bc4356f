package identity

func planted(p *place) {}
