-- +goose Up

-- What of a budget was spent in its present period; mails of a day were the first.
drop table mail_counts;
create table budgets (
  subject text primary key,
  period  timestamptz not null, -- its beginning
  spent   integer not null
);
create index budgets_age on budgets (period);
