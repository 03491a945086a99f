package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-faas/sluice/plugins/host"
)

// build runs one build on the runtime's builder. A builder that dies or gets
// stuck takes with it whatever else it was building, so which source did it is
// not known: each is tried once more on a process of its own, and one that ends
// that too is at fault, which its author is told.
func (s *stock) build(ctx context.Context, source string, dependencies []host.Dependency) (host.BuildResult, error) {
	select {
	case s.buildSlots <- struct{}{}:
		defer func() { <-s.buildSlots }()
	case <-ctx.Done():
		return host.BuildResult{}, fmt.Errorf("wait for a builder: %w", ctx.Err())
	}
	result, lost, err := s.buildShared(ctx, source, dependencies)
	if !lost {
		return result, err
	}
	s.pool.log.Warn().Str("runtime", s.name).Err(err).Msg("a builder was lost: build again on another")
	result, lost, err = s.buildAlone(ctx, source, dependencies)
	switch {
	case !lost:
		return result, err
	case s.isClosed():
		return host.BuildResult{}, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	s.pool.log.Warn().Str("runtime", s.name).Err(err).Msg("a source ended two builders")
	return host.BuildResult{Diagnostics: []host.Diagnostic{{
		Severity: host.SeverityError, Code: codeResources,
		Message: "The code could not be checked: the builder ran out of memory or time on it. Make it smaller or less deeply nested.",
	}}}, nil
}

// codeResources is the code of the diagnostic for a source that no builder survives.
const codeResources = "resources"

func (s *stock) buildShared(ctx context.Context, source string, dependencies []host.Dependency) (result host.BuildResult, lost bool, err error) {
	b, err := s.getBuilder(ctx)
	if err != nil {
		return host.BuildResult{}, false, err
	}
	defer s.putBuilder()
	result, lost, err = s.buildOn(ctx, b, source, dependencies)
	if lost {
		s.dropBuilder(b)
	}
	return result, lost, err
}

// buildAlone builds on a process that does nothing else and ends afterwards.
func (s *stock) buildAlone(ctx context.Context, source string, dependencies []host.Dependency) (result host.BuildResult, lost bool, err error) {
	b, err := s.await(ctx, s.order(nil))
	if err != nil {
		return host.BuildResult{}, false, &StartError{Runtime: s.name, Err: err}
	}
	defer s.pool.kill(b)
	return s.buildOn(ctx, b, source, dependencies)
}

// buildOn tells whether the builder was lost by it: it ended, or does not answer.
func (s *stock) buildOn(ctx context.Context, b *member, source string, dependencies []host.Dependency) (result host.BuildResult, lost bool, err error) {
	limited, cancel := context.WithTimeout(ctx, s.pool.cfg.BuildTimeout)
	defer cancel()
	result, err = b.proc.Build(limited, source, dependencies)
	switch {
	case err == nil:
		return result, false, nil
	case ctx.Err() != nil:
		return host.BuildResult{}, false, fmt.Errorf("build: %w", err)
	case limited.Err() != nil:
		return host.BuildResult{}, true, fmt.Errorf("build took longer than %v: %w", s.pool.cfg.BuildTimeout, err)
	}
	return host.BuildResult{}, b.ended() || errors.Is(err, host.ErrUnavailable), fmt.Errorf("build: %w", err)
}

func (s *stock) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
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
	b, err := s.await(ctx, s.order(nil))
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

func (s *stock) types(ctx context.Context) (map[string]string, error) {
	b, err := s.getBuilder(ctx)
	if err != nil {
		return nil, err
	}
	defer s.putBuilder()
	return b.proc.Types(ctx)
}
