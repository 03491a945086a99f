package lambda

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Event is something that happens in the messaging product and that lambdas can
// be bound to (contract/events-and-templates.md §1).
type Event struct {
	ID          string
	Name        string
	Description string
	Limit       int             // lambdas of an account that may be bound to it
	Payload     json.RawMessage // an example of what its lambdas get as payload
}

// Input is an example of all that a lambda of the event gets.
func (e Event) Input() json.RawMessage {
	return slices.Concat([]byte(`{"headers":[],"payload":`), e.Payload, []byte(`}`))
}

// Events tells every event, in the order in which lists show them.
func Events() []Event { return slices.Clone(events()) }

// EventByID finds the event of that id.
func EventByID(id string) (Event, bool) {
	all := events()
	i := slices.IndexFunc(all, func(e Event) bool { return e.ID == id })
	if i < 0 {
		return Event{}, false
	}
	return all[i], true
}

// CheckEvent says whether a new lambda can be bound to the event of that id; the
// empty id stands for no event. Lambdas from before there was a table may have
// others: those are not asked about.
func CheckEvent(id string) error {
	if _, ok := EventByID(id); ok || id == "" {
		return nil
	}
	return Invalid("eventId", "eventId %.60q is no event: use one that GET /events lists, or leave it out for a lambda that is called by its UUID", id)
}

// The examples are files, one for each event, with values of our own.
//
//go:embed events/*.json
var examples embed.FS

// events is the table, with its examples, which nobody may change.
var events = sync.OnceValue(func() []Event {
	const (
		botLimit     = 15
		commandLimit = 30
		chatLimit    = 10
	)
	all := []Event{
		{ID: "denver_post_survey_email_transcript", Name: "Chat Post Survey E-Mail Transcript", Limit: chatLimit,
			Description: "A consumer has answered the survey after a chat: say to whom the transcript is mailed."},
		{ID: "controllerbot_messaging_new_conversation", Name: "Messaging New Conversation", Limit: 1,
			Description: "A consumer has begun a conversation."},
		{ID: "controllerbot_messaging_participants_change", Name: "Messaging Participants Change", Limit: 1,
			Description: "Somebody has joined or left a conversation."},
		{ID: "controllerbot_messaging_ttr", Name: "Messaging TTR", Limit: 1,
			Description: "The time within which the consumer is to be answered has changed."},
		{ID: "controllerbot_messaging_mid_conversation_msg", Name: "Messaging Line in Off-Hours", Limit: 1,
			Description: "A consumer has written outside business hours."},
		{ID: "controllerbot_messaging_conversation_routing", Name: "Messaging Conversation Routing", Limit: 1,
			Description: "A conversation has been transferred to another skill."},
		{ID: "controllerbot_messaging_conversation_idle", Name: "Messaging Conversation Idle", Limit: 1,
			Description: "In a conversation nobody has answered, or taken it, for a while."},
		{ID: "controllerbot_messaging_conversation_end", Name: "Messaging Conversation End", Limit: 1,
			Description: "A conversation has been closed."},
		{ID: "surveybot_messaging_survey_started", Name: "Messaging Survey Started", Limit: 1,
			Description: "A consumer is being asked the survey after a conversation."},
		{ID: "surveybot_messaging_survey_ended", Name: "Messaging Survey Ended", Limit: 1,
			Description: "The survey after a conversation is over."},
		{ID: "conversational_command", Name: "Conversational Command", Limit: commandLimit,
			Description: "An agent has typed a command in a conversation and waits for the answer."},
		{ID: "bot_connectors_custom_integration", Name: "Third-Party Bots Custom Integration", Limit: botLimit,
			Description: "A consumer has written to a bot that the lambda is the brain of."},
		{ID: "bot_connectors_pre_hook", Name: "Third-Party Bots Pre-Hook", Limit: botLimit,
			Description: "A request is on its way to the vendor of a bot: change it before it is sent."},
		{ID: "bot_connectors_post_hook", Name: "Third-Party Bots Post-Hook", Limit: botLimit,
			Description: "A bot has answered: change its answer before the consumer gets it."},
		{ID: "bot_connectors_error_hook", Name: "Third-Party Bots Error-Hook", Limit: botLimit,
			Description: "The vendor of a bot, or one of its hooks, has failed."},
	}
	for i := range all {
		all[i].Payload = example(all[i].ID)
	}
	return all
})

// example reads the payload of an event. It is built in, so a fault of it is one
// of the build, which the first test meets.
func example(id string) json.RawMessage {
	text, err := examples.ReadFile("events/" + id + ".json")
	if err != nil {
		panic(fmt.Errorf("the example of event %s: %w", id, err))
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		panic(fmt.Errorf("the example of event %s: %w", id, err))
	}
	return b.Bytes()
}
