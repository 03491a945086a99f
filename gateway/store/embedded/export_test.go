package embedded

// ForgetPages does at once what is done now and then.
func (s *Server) ForgetPages() error { return s.forgetPages() }

// Defragment makes the database's file anew.
func (s *Server) Defragment() error { return s.etcd.Backend().Defrag() }
