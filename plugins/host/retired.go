package host

// Retired says that the process will not take a call again: it asked to be
// replaced, is being drained, or has begun to end. One that is only silent, and
// so not Available, may come back and is not retired.
func (p *Process) Retired() bool {
	s := p.session.Load()
	return s != nil && s.retired()
}

func (s *session) retired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}
