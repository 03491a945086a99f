// A lambda of an ordinary size: it looks up an order in what another system sent,
// and words an answer for a conversation.
const CURRENCIES = { EUR: '€', USD: '$', GBP: '£', JPY: '¥' }

const STATES = {
  created: 'We have received your order.',
  paid: 'Your payment has arrived, and we are packing.',
  packed: 'Your order is packed and waits for the carrier.',
  shipped: 'Your order is on its way.',
  delivered: 'Your order has been delivered.',
  returned: 'We have received what you sent back.',
  cancelled: 'Your order was cancelled.',
}

class BadRequest extends Error {
  constructor(message) {
    super(message)
    this.name = 'BadRequest'
  }
}

function text(value, name, most) {
  if (typeof value !== 'string' || value.trim() === '') throw new BadRequest(`${name} is missing`)
  if (value.length > most) throw new BadRequest(`${name} has more than ${most} characters`)
  return value.trim()
}

function money(amount, currency) {
  const sign = CURRENCIES[currency]
  if (!sign) return `${amount.toFixed(2)} ${currency}`
  return `${sign}${amount.toFixed(currency === 'JPY' ? 0 : 2)}`
}

function day(timestamp) {
  const date = new Date(timestamp)
  if (Number.isNaN(date.getTime())) return 'soon'
  return date.toISOString().slice(0, 10)
}

function total(lines) {
  return lines.reduce((sum, line) => sum + line.price * line.quantity, 0)
}

function describeLine(line, currency) {
  const price = money(line.price * line.quantity, currency)
  return line.quantity === 1 ? `${line.title} (${price})` : `${line.quantity} × ${line.title} (${price})`
}

function describe(order) {
  const lines = order.lines.map((line) => describeLine(line, order.currency))
  const parts = [STATES[order.state] ?? 'We are looking into your order.']
  if (order.state === 'shipped' && order.tracking) parts.push(`Follow it with the number ${order.tracking}.`)
  if (order.expected && order.state !== 'delivered') parts.push(`We expect it on ${day(order.expected)}.`)
  parts.push(`It holds ${lines.join(', ')}, together ${money(total(order.lines), order.currency)}.`)
  return parts.join(' ')
}

function quickReplies(order) {
  const replies = ['Talk to a person']
  if (order.state === 'shipped') replies.unshift('Where is it now?')
  if (order.state === 'delivered') replies.unshift('Send it back')
  if (order.state === 'created' || order.state === 'paid') replies.unshift('Cancel it')
  return replies.map((title) => ({ type: 'button', title, click: { actions: [{ type: 'publishText', text: title }] } }))
}

function find(orders, number) {
  const found = orders.find((order) => order.number === number)
  if (!found) throw new BadRequest(`there is no order ${number}`)
  return found
}

function lambda(input, callback) {
  try {
    const { payload } = input
    if (payload.orders === undefined) return callback(null, { message: 'Hello, ' + payload.name + '!' })
    const order = find(payload.orders, text(payload.number, 'number', 40))
    console.info('found an order', order.number, order.state)
    callback(null, { message: describe(order), quickReplies: { type: 'quickReplies', items: quickReplies(order) } })
  } catch (error) {
    if (!(error instanceof BadRequest)) throw error
    callback(null, { message: `I could not find your order: ${error.message}.`, quickReplies: null })
  }
}
