package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// The groups. Their names, like those of topics, get the prefix of Config.
const (
	ConsumerGroup = "crier-consumer"
	IncomingGroup = "crier-incoming"
	MatcherGroup  = "crier-matcher"
	MoverGroup    = "crier-mover" // and the beginning of the movers' transactional ids
)

// Right is what a part may do with some of Kafka's resources, in the terms of Kafka's
// authorizer: READ and WRITE include DESCRIBE.
type Right struct {
	Part       string
	Resource   kmsg.ACLResourceType
	Names      []string // without the prefix
	Prefixed   bool     // the names are beginnings
	Operations []kmsg.ACLOperation
}

// Rights are all that the parts and commands need, as least privilege has it. Those to
// describe settings are for the check at a start, which is left out without them.
var Rights = []Right{
	{"gateway", kmsg.ACLResourceTypeTopic, []string{Ticks, Deliveries}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	{"gateway", kmsg.ACLResourceTypeTopic, []string{Signals}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite}},
	{"gateway", kmsg.ACLResourceTypeTopic, []string{Notifications, Rooms, Incoming}, false, []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
	{"gateway", kmsg.ACLResourceTypeTopic, []string{Ticks, Notifications, Rooms, Deliveries, Signals, Incoming}, false, []kmsg.ACLOperation{kmsg.ACLOperationDescribeConfigs}},
	{"consumer", kmsg.ACLResourceTypeTopic, []string{Triggers, Rooms, Incoming}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	{"consumer", kmsg.ACLResourceTypeTopic, []string{Notifications}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite}},
	{"consumer", kmsg.ACLResourceTypeTopic, []string{Deliveries, Results, Signals, DeadLetters}, false, []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
	{"consumer", kmsg.ACLResourceTypeTopic, []string{Notifications, Triggers, Rooms, Deliveries, Results, DeadLetters, Incoming}, false, []kmsg.ACLOperation{kmsg.ACLOperationDescribeConfigs}},
	{"consumer", kmsg.ACLResourceTypeGroup, []string{ConsumerGroup, IncomingGroup}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	{"monitor", kmsg.ACLResourceTypeTopic, []string{Ticks, Triggers}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite}},
	{"monitor", kmsg.ACLResourceTypeTopic, []string{DeadLetters}, false, []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
	{"monitor", kmsg.ACLResourceTypeTopic, []string{Ticks, Triggers, DeadLetters}, false, []kmsg.ACLOperation{kmsg.ACLOperationDescribeConfigs}},
	{"monitor", kmsg.ACLResourceTypeGroup, []string{MatcherGroup, MoverGroup}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	{"monitor", kmsg.ACLResourceTypeGroup, []string{ConsumerGroup}, false, []kmsg.ACLOperation{kmsg.ACLOperationDescribe}},
	{"monitor", kmsg.ACLResourceTypeTransactionalId, []string{MoverGroup + "-"}, true, []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
	{"`crier send`", kmsg.ACLResourceTypeTopic, []string{Notifications}, false, []kmsg.ACLOperation{kmsg.ACLOperationWrite}},
	{"`crier send`", kmsg.ACLResourceTypeTopic, []string{Results}, false, []kmsg.ACLOperation{kmsg.ACLOperationRead}},
	{"`crier topics`", kmsg.ACLResourceTypeTopic, TopicNames, false, []kmsg.ACLOperation{kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs}},
}
