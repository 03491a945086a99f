package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-faas/sluice/plugins/host"
)

// build runs one build on the runtime's builder. If the builder dies under it,
// it is tried once more on a new one: nothing but that process was harmed.
func (s *stock) build(ctx context.Context, source string, dependencies []host.Dependency) (host.BuildResult, error) {
	select {
	case s.buildSlots <- struct{}{}:
		defer func() { <-s.buildSlots }()
	case <-ctx.Done():
		return host.BuildResult{}, fmt.Errorf("wait for a builder: %w", ctx.Err())
	}
	for attempt := 1; ; attempt++ {
		result, died, err := s.buildOnce(ctx, source, dependencies)
		if err == nil || !died || attempt == 2 || ctx.Err() != nil {
			return result, err
		}
	}
}

func (s *stock) buildOnce(ctx context.Context, source string, dependencies []host.Dependency) (result host.BuildResult, died bool, err error) {
	b, err := s.getBuilder(ctx)
	if err != nil {
		return host.BuildResult{}, false, err
	}
	defer s.putBuilder()
	limited, cancel := context.WithTimeout(ctx, s.pool.cfg.BuildTimeout)
	defer cancel()
	result, err = b.proc.Build(limited, source, dependencies)
	if err == nil {
		return result, false, nil
	}
	if errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		// It may never come back from this source; the next build gets a new one.
		s.dropBuilder(b)
		return host.BuildResult{}, false, fmt.Errorf("build took longer than %v: %w", s.pool.cfg.BuildTimeout, err)
	}
	return host.BuildResult{}, b.ended() || errors.Is(err, host.ErrUnavailable), fmt.Errorf("build: %w", err)
}

// getBuilder finds the builder or starts it, one at a time. putBuilder must follow.
func (s *stock) getBuilder(ctx context.Context) (*member, error) {
	select {
	case s.builderTurn <- struct{}{}:
		defer func() { <-s.builderTurn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a builder: %w", ctx.Err())
	}
	s.mu.Lock()
	if b := s.builder; b != nil && !b.ended() {
		s.builds++
		s.mu.Unlock()
		return b, nil
	}
	s.mu.Unlock()
	b, err := s.await(ctx, s.order())
	if err != nil {
		return nil, &StartError{Runtime: s.name, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.pool.kill(b)
		return nil, ErrClosed
	}
	s.builder = b
	s.builds++
	return b, nil
}

func (s *stock) putBuilder() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.builds--
	s.lastBuild = time.Now()
}

// dropBuilder kills b and makes the next build start another.
func (s *stock) dropBuilder(b *member) {
	s.mu.Lock()
	if s.builder == b {
		s.builder = nil
	}
	s.mu.Unlock()
	s.pool.kill(b)
}

func (s *stock) describe(ctx context.Context) (host.Description, error) {
	s.mu.Lock()
	known, d := s.described, s.description
	s.mu.Unlock()
	if known {
		return d, nil
	}
	b, err := s.getBuilder(ctx)
	if err != nil {
		return host.Description{}, err
	}
	s.putBuilder()
	return b.proc.Description(), nil
}
