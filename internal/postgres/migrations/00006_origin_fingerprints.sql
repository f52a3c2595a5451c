-- +goose Up

-- An offset does not identify a record: a partition that has lost acknowledged
-- records gives their offsets to others. null: stored before this was kept; such a
-- row stands for any record of its position.
alter table notifications add column origin_fingerprint bigint;
create unique index notifications_from on notifications (origin_topic, origin_partition, origin_offset, user_id, origin_fingerprint);
drop index notifications_origin;

alter table incoming_items add column origin_fingerprint bigint;
create unique index incoming_items_from on incoming_items (origin_topic, origin_partition, origin_offset, origin_fingerprint) where origin_topic is not null;
drop index incoming_items_origin;

-- The timestamp in Kafka of the record that asked for it, which is part of its
-- fingerprint; and of the tick that fired an alert.
alter table pending_sends add column record_time timestamptz;
alter table firings add column recorded_at timestamptz;
create unique index firings_on on firings (alert_id, revision, topic_id, partition, place, recorded_at);
drop index firings_tick;
