package lambda_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// limits is contract/events-and-templates.md §1, written down once more.
var limits = map[string]int{
	"denver_post_survey_email_transcript": 10,

	"controllerbot_messaging_new_conversation":     1,
	"controllerbot_messaging_participants_change":  1,
	"controllerbot_messaging_ttr":                  1,
	"controllerbot_messaging_mid_conversation_msg": 1,
	"controllerbot_messaging_conversation_routing": 1,
	"controllerbot_messaging_conversation_idle":    1,
	"controllerbot_messaging_conversation_end":     1,
	"surveybot_messaging_survey_started":           1,
	"surveybot_messaging_survey_ended":             1,

	"conversational_command":            30,
	"bot_connectors_custom_integration": 15,
	"bot_connectors_pre_hook":           15,
	"bot_connectors_post_hook":          15,
	"bot_connectors_error_hook":         15,
}

// shapes are the names of an example's fields, of §4 to §8.
var shapes = map[string]string{
	"denver_post_survey_email_transcript": "agentName csatRank questionWithAnswers skillName",

	"controllerbot_messaging_new_conversation":     "general start",
	"controllerbot_messaging_participants_change":  "general participantChange",
	"controllerbot_messaging_ttr":                  "general ttr",
	"controllerbot_messaging_mid_conversation_msg": "general mid",
	"controllerbot_messaging_conversation_routing": "general routing",
	"controllerbot_messaging_conversation_idle":    "general idle",
	"controllerbot_messaging_conversation_end":     "end general",
	"surveybot_messaging_survey_started":           survey,
	"surveybot_messaging_survey_ended":             survey,

	"conversational_command":            "arguments conversationId",
	"bot_connectors_custom_integration": "context convId event message",
	"bot_connectors_pre_hook":           "context convId message",
	"bot_connectors_post_hook":          "context messages",
	"bot_connectors_error_hook":         "error faasPayload vendor",
}

const survey = "accountId campaignInfo clientProperties closeReason context conversationId dialogs effectiveTTR firstConversation " +
	"lastContentEventNotification lastQuestionId participants skillId startTs state surveyId surveyRevision ttr"

// groups are the fields of what is within an example, wherever it occurs.
var groups = map[string]string{
	"general": "backToQueueTs campaignInfo clientFeatures clientIpAdress clientLanguage contextType convId dialogId effectiveTTR inOffHours " +
		"lastAgentMsgTs lastMessageComposer lastMessageTs manualETTR newConvState oldConvState originatorId originatorMetadata originatorPid " +
		"serverTimestamp sessionId startTs type visitorId",
	"start": "firstConversation", "end": "closeReason", "mid": "openedInOffHours", "routing": "newSkillId oldSkillId",
	"idle":                         "agentNonResponsive consumerNonResponsive convNotTakenTime lastConsumerMsgTs",
	"participantChange":            "newParticipants oldParticipants",
	"clientProperties":             "appId browser browserVersion deviceFamily features integration integrationVersion ipAddress os osVersion type",
	"lastContentEventNotification": "event originatorClientProperties originatorId originatorPId sequence serverTimestamp",
}

func TestEveryEventIsThereWithItsLimitAndAnExampleOfItsShape(t *testing.T) {
	all := lambda.Events()
	require.Len(t, all, len(limits))
	names := map[string]bool{}
	for _, e := range all {
		t.Run(e.ID, func(t *testing.T) {
			require.Equal(t, limits[e.ID], e.Limit)
			require.NotEmpty(t, e.Name)
			require.NotEmpty(t, e.Description)
			require.False(t, names[e.Name])
			names[e.Name] = true
			var payload map[string]any
			require.NoError(t, json.Unmarshal(e.Payload, &payload))
			require.Equal(t, shapes[e.ID], fieldsOf(payload))
			for name, value := range payload {
				if want := groups[name]; want != "" {
					require.Equal(t, want, fieldsOf(value.(map[string]any)), name)
				}
			}
			found, ok := lambda.EventByID(e.ID)
			require.True(t, ok)
			require.Equal(t, e, found)
			require.JSONEq(t, `{"headers":[],"payload":`+string(e.Payload)+`}`, string(e.Input()))
			require.NoError(t, lambda.CheckEvent(e.ID))
		})
	}
	files, err := os.ReadDir("events")
	require.NoError(t, err)
	require.Len(t, files, len(all), "an example without an event")
}

func fieldsOf(m map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }

func TestWhatIsNoEventIsRefused(t *testing.T) {
	require.NoError(t, lambda.CheckEvent(""), "no event")
	for _, id := range []string{"nope", "No Event", "controllerbot_messaging_ttr ", "CONVERSATIONAL_COMMAND", "\x00", strings.Repeat("e", 10_000)} {
		_, ok := lambda.EventByID(id)
		require.False(t, ok)
		err := lambda.As(lambda.CheckEvent(id))
		require.NotNil(t, err)
		require.Equal(t, "eventId", err.Field)
		require.Equal(t, lambda.KindInvalid, err.Kind)
		require.Contains(t, err.Message, "GET /events")
		require.Less(t, len(err.Message), 400)
	}
}

func TestTheTableIsNobodysToChange(t *testing.T) {
	lambda.Events()[0].ID = "changed"
	require.NotEqual(t, "changed", lambda.Events()[0].ID)
}
