package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// What writes of accounts, users, profiles, apps and skills have in common.

// settleLimit bounds the wait for the own views, should their watch be cut.
const settleLimit = 2 * time.Second

// settle lets this gateway act on what it has just written before it answers.
// Others learn it from their watch.
func (s *Server) settle(q *request) {
	ctx, cancel := context.WithTimeout(q, settleLimit)
	defer cancel()
	if err := s.views.WaitFor(ctx, s.identity.Written()); err != nil {
		s.log.Warn().Err(err).Str("requestId", q.id).Msg("the views lag behind a write")
	}
}

// spend counts what a write will take of the store against the account.
func (s *Server) spend(q *request, noun any) error {
	if q.origin == operator {
		return nil
	}
	text, err := json.Marshal(noun)
	if err != nil {
		return fmt.Errorf("size of %T: %w", noun, err)
	}
	return s.saves.take(q.account(), len(text), s.now())
}
